/* Device tensors as the CPU sees them, and back. */
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <ATen/core/List_inl.h>

#include <unordered_map>
#include <vector>

#include "runtime.h"

namespace sim {

using at::Tensor;
using c10::IValue;

inline const c10::DispatchKeySet DEVICE_KEY(c10::DispatchKey::PrivateUse1);
inline const c10::DispatchKeySet CPU_KEY(c10::DispatchKey::CPU);

inline Tensor make_tensor(c10::Storage storage, c10::DispatchKeySet key, const Tensor &like)
{
    auto made = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), key, like.dtype());
    auto *impl = made.unsafeGetTensorImpl();
    impl->set_sizes_and_strides(like.sizes(), like.strides(), like.storage_offset());
    made._set_conj(like.is_conj());
    made._set_neg(like.is_neg());
    return made;
}

class Views {
  public:
    /* Return a host tensor on the memory of a device tensor; other tensors stay as they are. */
    Tensor host(const Tensor &device)
    {
        if (!device.defined() || device.device().type() != DEVICE)
            return device;
        const c10::Storage &memory = device.storage();
        c10::DataPtr borrowed(const_cast<void *>(memory.data()), c10::DeviceType::CPU);
        Tensor view = make_tensor(
            c10::Storage(c10::Storage::use_byte_size_t(), memory.nbytes(), std::move(borrowed),
                         c10::GetAllocator(c10::DeviceType::CPU), true),
            CPU_KEY, device);
        tensors_.emplace(view.unsafeGetTensorImpl(), device);
        storages_.emplace(view.storage().unsafeGetStorageImpl(), memory);
        return view;
    }

    /* Return the device tensor of a host tensor: of an argument, a view of one, or a result. */
    Tensor device(const Tensor &host)
    {
        if (!host.defined() || !host.is_cpu())
            return host;
        auto tensor = tensors_.find(host.unsafeGetTensorImpl());
        if (tensor != tensors_.end())
            return tensor->second;
        auto *memory = host.storage().unsafeGetStorageImpl();
        auto storage = storages_.find(memory);
        if (storage == storages_.end()) {
            c10::Storage made(c10::Storage::use_byte_size_t(), host.storage().nbytes(),
                              share_with_device(host.storage()), device_allocator(), true);
            storage = storages_.emplace(memory, std::move(made)).first;
        }
        return make_tensor(storage->second, DEVICE_KEY, host);
    }

    bool is_argument(const Tensor &host) const
    {
        return tensors_.count(host.unsafeGetTensorImpl()) > 0;
    }

    /* Let device tensors follow host views that were resized or given other sizes. */
    void take_over_changes()
    {
        for (auto &[impl, tensor] : tensors_) {
            if (impl->storage().data() != tensor.storage().data()) {
                tensor.storage().set_data_ptr_noswap(share_with_device(impl->storage()));
                tensor.storage().set_nbytes(impl->storage().nbytes());
            }
            auto *own = tensor.unsafeGetTensorImpl();
            if (impl->sizes() != own->sizes() || impl->strides() != own->strides())
                own->set_sizes_and_strides(impl->sizes(), impl->strides(), impl->storage_offset());
        }
    }

  private:
    std::unordered_map<const c10::TensorImpl *, Tensor> tensors_; /* by their host view */
    std::unordered_map<const c10::StorageImpl *, c10::Storage> storages_;
};

template <class Change> IValue for_each_tensor(const IValue &value, Change change)
{
    if (value.isTensor())
        return change(value.toTensor());
    if (value.isTensorList()) {
        c10::List<Tensor> changed;
        for (const Tensor &tensor : value.toTensorVector())
            changed.push_back(change(tensor));
        return changed;
    }
    if (value.isOptionalTensorList()) {
        c10::List<std::optional<Tensor>> changed;
        for (const auto &tensor : value.toOptionalTensorVector())
            changed.push_back(tensor ? std::optional(change(*tensor)) : std::nullopt);
        return changed;
    }
    return value;
}

} // namespace sim
