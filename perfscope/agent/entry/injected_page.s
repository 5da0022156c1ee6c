        .intel_syntax noprefix
        .text

# The code page that is mapped into the target. The data pages follow it; injected_page.py has the
# same layout.
        .set    CLAIMED, 16
        .set    PENDING, 20
        .set    LEAVING, 24
        .set    FAILED, 28
        .set    BEGAN, 32
        .set    THREAD, 40
        .set    BASE, 48
        .set    LENGTH, 56
        .set    THREAD_MAIN, 64
        .set    PTHREAD_CREATE, 72
        .set    PTHREAD_SELF, 80
        .set    PTHREAD_DETACH, 88
        .set    PTHREAD_SIGMASK, 96
        .set    MUNMAP, 104
        .set    PY_IS_INITIALIZED, 112
        .set    GIL_ENSURE, 120
        .set    GIL_RELEASE, 128
        .set    DICT_NEW, 136
        .set    RUN_STRING, 144
        .set    ERR_CLEAR, 152
        .set    DEC_REF, 160
        .set    MPROTECT, 168
        .set    ADD_PENDING_CALL, 176
        .set    SIGNAL_MASK, 184
        .set    MASK_BEFORE, 312
        .set    PAGE, 4096
        .set    TEXT, 512

# int arrive(data, how): called on the stopped thread. It does everything in one call, because each
# call costs two turns of the scheduler. how: 1 queue the pending call, 0 only prepare. Returns
# 0 done, 1 no memory, 2 no Python, 3 queue full.
arrive:
        push    rbx
        push    r13
        push    r15
        mov     rbx, rdi
        mov     r13d, esi
        mov     rsi, [rbx + LENGTH]
        sub     rsi, PAGE
        mov     edx, 3
        call    [rbx + MPROTECT]
        mov     r15d, 1
        test    eax, eax
        jne     arrived
        call    [rbx + PY_IS_INITIALIZED]
        mov     r15d, 2
        test    eax, eax
        je      arrived
        xor     r15d, r15d
        cmp     r13d, 1
        jne     arrived
        mov     dword ptr [rbx + PENDING], 1
        mov     rdi, [rbx + BASE]
        add     rdi, offset pending - arrive
        mov     rsi, rbx
        call    [rbx + ADD_PENDING_CALL]
        test    eax, eax
        je      arrived
        mov     dword ptr [rbx + PENDING], 0
        mov     r15d, 3
arrived:
        mov     eax, r15d
        pop     r15
        pop     r13
        pop     rbx
        ret

# int start(data): called on the idle thread after `arrive`; starts the native thread. It first sets
# CLAIMED, so that a tracer that is killed here leaves one thread or none. pthread_create returns to
# our caller, not to this page: the new thread may have unmapped it by then.
start:
        mov     dword ptr [rdi + CLAIMED], 1
        mov     rcx, rdi
        mov     rdx, [rdi + THREAD_MAIN]
        mov     rax, [rdi + PTHREAD_CREATE]
        xor     esi, esi
        lea     rdi, [rcx + THREAD]
        jmp     rax

# int pending(data): the pending call. On the main thread, at a bytecode boundary, with the GIL.
pending:
        mov     dword ptr [rdi + PENDING], 0
        cmp     dword ptr [rdi + LEAVING], 0
        jne     free_all
        cmp     dword ptr [rdi + CLAIMED], 0
        jne     nothing_to_do
        mov     dword ptr [rdi + CLAIMED], 1
        push    rbx
        mov     rbx, rdi
# The thread inherits a full mask, so that it never takes a signal that would wake the main thread.
        xor     edi, edi
        lea     rsi, [rbx + SIGNAL_MASK]
        lea     rdx, [rbx + MASK_BEFORE]
        call    [rbx + PTHREAD_SIGMASK]
        lea     rdi, [rbx + THREAD]
        xor     esi, esi
        mov     rdx, [rbx + THREAD_MAIN]
        mov     rcx, rbx
        call    [rbx + PTHREAD_CREATE]
        mov     [rbx + FAILED], eax
        mov     edi, 2
        lea     rsi, [rbx + MASK_BEFORE]
        xor     edx, edx
        call    [rbx + PTHREAD_SIGMASK]
        pop     rbx
nothing_to_do:
        xor     eax, eax
        ret
# The thread has ended. munmap returns 0 to our caller, which is what a pending call must return.
free_all:
        mov     rsi, [rdi + LENGTH]
        mov     rax, [rdi + MUNMAP]
        mov     rdi, [rdi + BASE]
        jmp     rax

# void *thread_main(data)
        .balign 16
thread_main:
        push    rbx
        push    r12
        push    r13
        mov     rbx, rdi
        mov     edi, 2
        lea     rsi, [rbx + SIGNAL_MASK]
        xor     edx, edx
        call    [rbx + PTHREAD_SIGMASK]
        call    [rbx + PTHREAD_SELF]
        mov     rdi, rax
        call    [rbx + PTHREAD_DETACH]
        call    [rbx + PY_IS_INITIALIZED]
        test    eax, eax
        je      too_late
        call    [rbx + GIL_ENSURE]
        mov     r12d, eax
        mov     dword ptr [rbx + BEGAN], 1
        call    [rbx + DICT_NEW]
        mov     r13, rax
        test    rax, rax
        je      forget_error
        lea     rdi, [rbx + TEXT]
        mov     esi, 257
        mov     rdx, r13
        mov     rcx, r13
        call    [rbx + RUN_STRING]
        test    rax, rax
        je      raised
        mov     rdi, rax
        call    [rbx + DEC_REF]
        jmp     drop_namespace
raised:
        call    [rbx + ERR_CLEAR]
drop_namespace:
        mov     rdi, r13
        call    [rbx + DEC_REF]
        jmp     leave_now
forget_error:
        call    [rbx + ERR_CLEAR]
# With the GIL held, the pending call cannot run now. The later of the two unmaps the memory.
leave_now:
        mov     edi, r12d
        cmp     dword ptr [rbx + PENDING], 0
        jne     leave_memory_to_pending
        call    [rbx + GIL_RELEASE]
        mov     rdi, [rbx + BASE]
        mov     rsi, [rbx + LENGTH]
        mov     rax, [rbx + MUNMAP]
        jmp     return_through_rax
leave_memory_to_pending:
        mov     dword ptr [rbx + LEAVING], 1
        mov     rax, [rbx + GIL_RELEASE]
return_through_rax:
        pop     r13
        pop     r12
        pop     rbx
        jmp     rax
too_late:
        pop     r13
        pop     r12
        pop     rbx
        xor     eax, eax
        ret
