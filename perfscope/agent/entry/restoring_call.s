        .intel_syntax noprefix
        .text

# Calls a function on the stopped thread: saves the thread's state, calls, and restores the state,
# with or without a tracer. It is in the unused end of a code page of the program. The tracer writes
# the words of the head before each call, and this code reads them before it calls the function,
# except PID and SIGNAL, which are the same for every call, and TIME_LIMIT, which a restarted system
# call reads. At the begin every register has the program's value, except rip and rsp (below the
# program's red zone).
        .set    RED_ZONE, 128
        .set    RAX_SLOT, 128
        .set    RETURN_SLOT, 144

function:       .quad   0
arguments:      .quad   0, 0, 0, 0
return_to:      .quad   0
flags:          .quad   0
signal_mask:    .quad   0
waking:         .quad   0
xstate_bytes:   .quad   0
errno_location: .quad   0
pid:            .long   0
signal:         .long   0
time_limit:     .quad   0, 0

call_function:
        push    [rip + return_to]
        push    [rip + flags]
        push    rax
        push    rcx
        push    rdx
        push    rsi
        push    rdi
        push    r8
        push    r9
        push    r10
        push    r11
        push    rbx
        push    rbp
        push    r12
        push    r13
        push    r14
        push    r15
        push    [rip + waking]
        push    [rip + signal_mask]
        mov     rbp, rsp
        sub     rsp, [rip + xstate_bytes]
        and     rsp, -64
        lea     rdi, [rsp + 512]
        xor     eax, eax
        mov     ecx, 8
        rep     stosq
        or      eax, -1
        mov     edx, eax
        xsave64 [rsp]
        call    [rip + errno_location]
        mov     r12, rax
        mov     r13d, [rax]
        mov     rdi, [rip + arguments]
        mov     rsi, [rip + arguments + 8]
        mov     rdx, [rip + arguments + 16]
        mov     rcx, [rip + arguments + 24]
        mov     r8, -1
        xor     r9d, r9d
        call    [rip + function]
# The tracer searches the stack for this address to find a running call, so no copy may remain.
after_call:
        mov     qword ptr [rsp - 8], 0
        mov     rbx, rax
        mov     [r12], r13d
# The program ignores this signal. It stops the thread for a tracer, and else does nothing.
        mov     edi, [rip + pid]
        mov     esi, edi
        mov     edx, [rip + signal]
        mov     eax, 234
        syscall
returned:
        or      eax, -1
        mov     edx, eax
        xrstor64 [rsp]
        mov     rsp, rbp
# If a signal with a handler has arrived, an interrupted wait ends with EINTR, as without us.
        push    0
        mov     rdi, rsp
        mov     esi, 8
        mov     eax, 127
        syscall
        pop     rax
        test    rax, [rsp + 8]
        je      no_handler
        mov     qword ptr [rsp + RAX_SLOT], -4
        add     qword ptr [rsp + RETURN_SLOT], 2
no_handler:
        mov     edi, 2
        mov     rsi, rsp
        xor     edx, edx
        mov     r10d, 8
        mov     eax, 14
        syscall
        add     rsp, 16
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     rbp
        pop     rbx
        pop     r11
        pop     r10
        pop     r9
        pop     r8
        pop     rdi
        pop     rsi
        pop     rdx
        pop     rcx
        pop     rax
        popfq
        ret     RED_ZONE
