/* Operators: the CPU computes their values at once, the device is occupied for a modeled time. */
#include "operators.h"

#include <ATen/EmptyTensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/_local_scalar_dense.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/resize_native.h>
#include <ATen/ops/set_cpu_dispatch.h>
#include <ATen/ops/view_native.h>
#include <c10/core/DeviceGuard.h>
#include <torch/library.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "runtime.h"
#include "views.h"

namespace sim {
namespace {

using Stack = std::vector<IValue>;


/* -- the model of durations -- */

bool starts_with(const std::string &text, const char *part) { return text.rfind(part, 0) == 0; }

double convolution_flops(const Tensor &result, const Tensor &weight)
{
    return 2.0 * result.numel() * weight.numel() / std::max<int64_t>(1, weight.size(0));
}

/* `given` are the tensor arguments in order. */
double flops_of(const std::string &name, const std::vector<Tensor> &given)
{
    static const std::unordered_map<std::string, int> products = {
        {"mm", 0}, {"bmm", 0}, {"mv", 0}, {"dot", 0}, {"addmm", 1}, {"baddbmm", 1}, {"addmv", 1}};
    auto product = products.find(name);
    if (product == products.end())
        return 0;
    const Tensor &left = given.at(product->second), &right = given.at(product->second + 1);
    return 2.0 * left.numel() * (right.dim() > 1 ? right.size(-1) : 1);
}

std::string kernel_name(const std::string &name, bool multiplies)
{
    if (starts_with(name, "convolution"))
        return "void sim::implicit_gemm_conv_kernel<" + name + ">(float*, float const*)";
    if (multiplies)
        return "void sim::gemm_kernel<" + name + ">(float*, float const*, float const*)";
    if (starts_with(name, "_foreach") || starts_with(name, "_fused"))
        return "void sim::multi_tensor_apply_kernel<" + name + ">(TensorList)";
    for (const char *part : {"sum", "mean", "max", "min", "norm", "softmax", "nll_loss"})
        if (name.find(part) != std::string::npos && name.find("backward") == std::string::npos)
            return "void sim::reduce_kernel<" + name + ">(float*, float const*)";
    return "void sim::elementwise_kernel<" + name + ">(float*, float const*)";
}

Ns duration_of(const std::string &name, double flops, double bytes)
{
    for (auto &[part, us] : settings().durations_us)
        if (name.find(part) != std::string::npos)
            return microseconds(us);
    double ns = std::max(flops / settings().gflops, bytes / settings().gbps);
    return std::max(static_cast<Ns>(ns), microseconds(settings().kernel_us));
}

double bytes_of(const Tensor &tensor)
{
    return tensor.defined() ? static_cast<double>(tensor.numel()) * tensor.element_size() : 0;
}

/* Put work on the current stream, or into the graph that is captured there. */
void launch(Work work, std::function<void()> compute_again)
{
    if (is_capturing()) {
        capture_node(std::move(work), std::move(compute_again));
        return;
    }
    wait_for_room(current_stream());
    submit(current_stream(), work);
}

/* -- the fallback: every operator that has no function of its own below -- */

bool returns_view(const c10::FunctionSchema &schema)
{
    return std::any_of(schema.returns().begin(), schema.returns().end(), [](auto &result) {
        return result.alias_info() && !result.alias_info()->isWrite();
    });
}

struct Call {
    std::vector<Tensor> given; /* host views of the tensor arguments */
    double bytes = 0;          /* read and written */
};

/* Return whether the size of the result depends on values, as that of x[mask]: CUDA waits for it. */
bool waits_for_result(const std::string &name, const Call &call)
{
    static const std::unordered_set<std::string> names = {
        "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "equal",
        "bincount", "repeat_interleave"};
    auto is_mask = [](const Tensor &tensor) { return tensor.scalar_type() == at::kBool; };
    return names.count(name) > 0 ||
           (name == "index" && std::any_of(call.given.begin(), call.given.end(), is_mask));
}

/* Replace device arguments by host views, and let the CPU compute the results. */
Call compute(const c10::OperatorHandle &op, Stack *stack, Views &views)
{
    Call call;
    const auto &arguments = op.schema().arguments();
    size_t begin = stack->size() - arguments.size();
    for (size_t i = 0; i < arguments.size(); i++) {
        IValue &value = (*stack)[begin + i];
        bool written = arguments[i].alias_info() && arguments[i].alias_info()->isWrite();
        if (value.isDevice() && value.toDevice().type() == DEVICE)
            value = c10::Device(c10::kCPU);
        else if (value.isGenerator() && value.toGenerator().device().type() == DEVICE)
            value = IValue();
        else
            value = for_each_tensor(value, [&](const Tensor &tensor) {
                if (tensor.defined() && tensor.device().type() == DEVICE)
                    call.bytes += bytes_of(tensor) * (written ? 2 : 1);
                call.given.push_back(views.host(tensor));
                return call.given.back();
            });
    }
    AllocateOnDevice on_device;
    op.redispatchBoxed(CPU_KEY, stack);
    views.take_over_changes();
    return call;
}

/* Return a function that computes an operator again, into the results of the first time. */
std::function<void()> repeat(const c10::OperatorHandle &op, Stack given, Stack results)
{
    return [op, given, results] {
        Stack stack = given;
        Views views, first;
        compute(op, &stack, views);
        for (size_t i = 0; i < results.size(); i++) {
            if (!results[i].isTensor() || !results[i].toTensor().defined())
                continue;
            Tensor into = first.host(results[i].toTensor()), from = stack[i].toTensor();
            if (into.data_ptr() != from.data_ptr())
                into.copy_(from);
        }
    };
}

void compute_and_launch(const c10::OperatorHandle &op, Stack *stack)
{
    const auto &schema = op.schema();
    std::string name = schema.name().substr(schema.name().find("::") + 2);
    Stack given;
    if (is_capturing())
        given.assign(stack->end() - static_cast<long>(schema.arguments().size()), stack->end());
    Views views;
    Call call = compute(op, stack, views);
    size_t begin = stack->size() - schema.returns().size();
    for (size_t i = begin; i < stack->size(); i++)
        (*stack)[i] = for_each_tensor((*stack)[i], [&](const Tensor &tensor) {
            if (tensor.defined() && !views.is_argument(tensor))
                call.bytes += bytes_of(tensor);
            return views.device(tensor);
        });
    if (returns_view(schema))
        return;
    double flops = flops_of(name, call.given);
    if (flops > 0 && call.given[0].scalar_type() == at::kDouble)
        flops *= 2; /* at half the rate of float32 */
    bool fills = name == "zero_";
    Work work{fills ? Kind::Fill : Kind::Kernel,
              fills ? "Memset (Device)" : kernel_name(name, flops > 0),
              duration_of(schema.name(), flops, fills ? call.bytes / 2 : call.bytes),
              static_cast<int64_t>(call.bytes)};
    if (fills)
        work.call = "cudaMemsetAsync";
    std::function<void()> again;
    if (is_capturing())
        again = repeat(op, given, Stack(stack->begin() + static_cast<long>(begin), stack->end()));
    launch(std::move(work), std::move(again));
    if (waits_for_result(name, call)) {
        forbid_while_capturing("an operator that waits for its result");
        synchronize_stream(current_stream());
    }
}

/* -- copies -- */

void copy_values(const Tensor &from, const Tensor &to)
{
    Views views;
    Tensor target = views.host(to);
    target.copy_(views.host(from));
}

void copy_inside_device(const Tensor &from, const Tensor &to)
{
    bool plain = from.is_contiguous() && to.is_contiguous() && from.dtype() == to.dtype();
    Work work{plain ? Kind::Copy : Kind::Kernel,
              plain ? "Memcpy DtoD (Device -> Device)" : kernel_name("copy_", false),
              duration_of("aten::copy_", 0, 2 * bytes_of(to)), static_cast<int64_t>(bytes_of(to))};
    if (plain)
        work.call = "cudaMemcpyAsync";
    launch(std::move(work), [from, to] { copy_values(from, to); });
}

/* As with CUDA, a large copy of pageable memory holds the host up inside the call. */
void copy_over_link(const Tensor &from, const Tensor &to, bool non_blocking)
{
    constexpr double STAGED = 65536;
    bool upload = to.device().type() == DEVICE;
    bool pinned = is_pinned((upload ? from : to).storage().data());
    std::string where = pinned ? "Pinned" : "Pageable";
    double bytes = bytes_of(to);
    double ns = bytes / (pinned ? settings().pinned_gbps : settings().pageable_gbps);
    Work work{Kind::Copy,
              upload ? "Memcpy HtoD (" + where + " -> Device)"
                     : "Memcpy DtoH (Device -> " + where + ")",
              microseconds(settings().copy_us) + static_cast<Ns>(ns), static_cast<int64_t>(bytes),
              upload ? Engine::CopyIn : Engine::CopyOut, "cudaMemcpyAsync"};
    int stream = current_stream();
    if (!pinned && bytes > STAGED) {
        forbid_while_capturing("a copy of pageable memory");
        wait_for_room(stream);
        submit_and_wait(stream, work);
    } else {
        if (!non_blocking)
            forbid_while_capturing("a copy that waits");
        launch(std::move(work), [from, to] { copy_values(from, to); });
    }
    if (!non_blocking)
        synchronize_stream(stream, true);
}

Tensor copy_from(const Tensor &from, const Tensor &to, bool non_blocking)
{
    copy_values(from, to);
    if (to.numel() == 0)
        return to;
    if (from.device() == to.device())
        copy_inside_device(from, to);
    else
        copy_over_link(from, to, non_blocking);
    return to;
}

Tensor copy_from_and_resize(const Tensor &from, const Tensor &to)
{
    to.resize_(from.sizes());
    return copy_from(from, to, false);
}

at::Scalar local_scalar_dense(const Tensor &self)
{
    forbid_while_capturing(".item()");
    int stream = current_stream();
    wait_for_room(stream);
    submit(stream, {Kind::Copy, "Memcpy DtoH (Device -> Pinned)", microseconds(settings().copy_us),
                    static_cast<int64_t>(self.element_size()), Engine::CopyOut, "cudaMemcpyAsync"});
    synchronize_stream(stream);
    Views views;
    return at::_local_scalar_dense(views.host(self));
}

/* -- functions that launch nothing -- */

Tensor empty(c10::SymIntArrayRef size, std::optional<at::ScalarType> dtype,
             std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>,
             std::optional<at::MemoryFormat> format)
{
    return at::detail::empty_generic(C10_AS_INTARRAYREF_SLOW(size), device_allocator(), DEVICE_KEY,
                                     c10::dtype_or_default(dtype), format);
}

Tensor empty_strided(c10::SymIntArrayRef size, c10::SymIntArrayRef stride,
                     std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                     std::optional<at::Device>, std::optional<bool>)
{
    return at::detail::empty_strided_generic(
        C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride), device_allocator(),
        DEVICE_KEY, c10::dtype_or_default(dtype));
}

Tensor as_strided(const Tensor &self, c10::SymIntArrayRef size, c10::SymIntArrayRef stride,
                  std::optional<c10::SymInt> offset)
{
    std::optional<int64_t> plain_offset;
    if (offset)
        plain_offset = offset->expect_int();
    return at::native::as_strided_tensorimpl(self, C10_AS_INTARRAYREF_SLOW(size),
                                             C10_AS_INTARRAYREF_SLOW(stride), plain_offset);
}

Tensor view(const Tensor &self, c10::SymIntArrayRef size)
{
    return at::native::view(self, C10_AS_INTARRAYREF_SLOW(size));
}

Tensor reshape_alias(const Tensor &self, c10::SymIntArrayRef size, c10::SymIntArrayRef stride)
{
    return at::native::_reshape_alias(self, C10_AS_INTARRAYREF_SLOW(size),
                                      C10_AS_INTARRAYREF_SLOW(stride));
}

const Tensor &resize(const Tensor &self, c10::SymIntArrayRef size,
                     std::optional<at::MemoryFormat> format)
{
    return at::native::resize_(self, C10_AS_INTARRAYREF_SLOW(size), format);
}

Tensor &set_storage_with_offset(Tensor &self, at::Storage source, c10::SymInt offset,
                                c10::SymIntArrayRef size, c10::SymIntArrayRef stride)
{
    return at::cpu::set_(self, source, offset.expect_int(), C10_AS_INTARRAYREF_SLOW(size),
                         C10_AS_INTARRAYREF_SLOW(stride));
}

Tensor &set_storage(Tensor &self, at::Storage source)
{
    auto length = static_cast<int64_t>(source.nbytes() / self.element_size());
    return at::cpu::set_(self, source, 0, {length}, {});
}

Tensor &set_tensor(Tensor &self, const Tensor &source)
{
    return at::cpu::set_(self, source.storage(), source.storage_offset(), source.sizes(),
                         source.strides());
}

/* -- convolutions: torch asks a foreign device for its own -- */

Tensor convolution(const Tensor &input, const Tensor &weight, const std::optional<Tensor> &bias,
                   at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef dilation,
                   bool transposed, at::IntArrayRef output_padding, int64_t groups)
{
    Views views;
    Tensor x = views.host(input), w = views.host(weight), b, y;
    if (bias)
        b = views.host(*bias);
    {
        AllocateOnDevice on_device;
        y = at::convolution(x, w, b, stride, padding, dilation, transposed, output_padding, groups);
    }
    double flops = convolution_flops(transposed ? x : y, w), bytes = bytes_of(x) + bytes_of(y);
    launch({Kind::Kernel, kernel_name("convolution", true),
            duration_of("aten::convolution", flops, bytes), static_cast<int64_t>(bytes)},
           nullptr);
    return views.device(y);
}

std::tuple<Tensor, Tensor, Tensor>
convolution_backward(const Tensor &grad, const Tensor &input, const Tensor &weight,
                     at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef dilation,
                     bool transposed, at::IntArrayRef output_padding, int64_t groups,
                     std::array<bool, 3> mask)
{
    Views views;
    Tensor g = views.host(grad), x = views.host(input), w = views.host(weight), gx, gw, gb;
    std::vector<int64_t> bias_size{w.size(transposed ? 1 : 0) * (transposed ? groups : 1)};
    {
        AllocateOnDevice on_device;
        std::tie(gx, gw, gb) =
            at::convolution_backward(g, x, w, bias_size, stride, padding, dilation, transposed,
                                     output_padding, groups, mask);
    }
    double flops = convolution_flops(transposed ? x : g, w), bytes = bytes_of(x) + bytes_of(g);
    for (bool wanted : {mask[0], mask[1]})
        if (wanted)
            launch({Kind::Kernel, kernel_name("convolution_backward", true),
                    duration_of("aten::convolution_backward", flops, bytes),
                    static_cast<int64_t>(bytes)},
                   nullptr);
    return {views.device(gx), views.device(gw), views.device(gb)};
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, library)
{
    library.fallback(torch::CppFunction::makeFromBoxedFunction<&compute_and_launch>());
}

/* torch's composite kernels come before a fallback. Without a registration of their own, operators
 * on lists would launch once per tensor, and a structured one would be two operators in a trace. */
void register_before_composites(torch::Library &library)
{
    auto &dispatcher = c10::Dispatcher::singleton();
    for (const c10::OperatorName &name : dispatcher.getAllOpNames()) {
        auto op = dispatcher.findOp(name);
        if (!op || !op->hasSchema() || !starts_with(name.name, "aten::"))
            continue;
        bool on_lists = starts_with(name.name, "aten::_foreach_") &&
                        name.overload_name.find("out") == std::string::npos;
        bool structured =
            op->hasKernelForDispatchKey(
                c10::DispatchKey::CompositeExplicitAutogradNonFunctional) &&
            op->hasKernelForDispatchKey(c10::DispatchKey::CPU) && !returns_view(op->schema());
        if (!on_lists && !structured)
            continue;
        std::string full = name.name.substr(6);
        if (!name.overload_name.empty())
            full += "." + name.overload_name;
        library.impl(full.c_str(), torch::CppFunction::makeFromBoxedFunction<&compute_and_launch>());
    }
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library)
{
    library.impl("empty.memory_format", empty);
    library.impl("empty_strided", empty_strided);
    library.impl("as_strided", as_strided);
    library.impl("view", view);
    library.impl("_reshape_alias", reshape_alias);
    library.impl("resize_", resize);
    library.impl("set_.source_Storage_storage_offset", set_storage_with_offset);
    library.impl("set_.source_Storage", set_storage);
    library.impl("set_.source_Tensor", set_tensor);
    library.impl("_copy_from", copy_from);
    library.impl("_copy_from_and_resize", copy_from_and_resize);
    library.impl("_local_scalar_dense", local_scalar_dense);
    library.impl("record_stream", [](Tensor &, at::Stream) {});
    library.impl("convolution_overrideable", convolution);
    library.impl("convolution_backward_overrideable", convolution_backward);
    register_before_composites(library);
}

TORCH_LIBRARY(sim, library)
{
    library.def("end_step() -> ()", [] { end_step(); });
    library.def("now() -> int", [] { return now(); });
    library.def("is_used() -> bool", [] { return memory_use().allocations > 0; });
}

} // namespace
} // namespace sim
