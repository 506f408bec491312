/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A seccomp filter from a list, made on the spot: libseccomp takes milliseconds for what is a loop here.
 */
#include "linux/allow.h"
#include "base/base.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* The kernel's linux/seccomp.h can't be included: seccomp.h beside this file has its name. */
struct seccomp_data {
    int nr;
    uint32_t arch;
    uint64_t instruction_pointer;
    uint64_t args[6];
};
#define SECCOMP_SET_MODE_FILTER 1
#define SECCOMP_RET_KILL_PROCESS 0x80000000u
#define SECCOMP_RET_ERRNO 0x00050000u
#define SECCOMP_RET_ALLOW 0x7fff0000u

#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#else
#error "name the audit architecture of this machine"
#endif

struct program {
    struct sock_filter code[(4 + ALLOW_FIRST_MAX) * ALLOW_MAX];
    size_t n;
};

static void add(struct program *p, uint16_t code, uint32_t k, uint8_t yes, uint8_t no)
{
    p->code[p->n++] = (struct sock_filter){code, yes, no, k};
}

#define LOAD(p, field) add(p, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field), 0, 0)
#define RETURN(p, what) add(p, BPF_RET | BPF_K, what, 0, 0)
#define EQUAL (BPF_JMP | BPF_JEQ | BPF_K)
#define ANY_BIT (BPF_JMP | BPF_JSET | BPF_K)

/* Each row decides for its call and is jumped over by the others, so the length of the list does not matter. */
static void add_any(struct program *p, int number)
{
    add(p, EQUAL, (uint32_t)number, 0, 1);
    RETURN(p, SECCOMP_RET_ALLOW);
}

static void add_some(struct program *p, const struct allowed_call *c)
{
    size_t tests = c->n_first ? c->n_first : 1;
    add(p, EQUAL, (uint32_t)c->number, 0, (uint8_t)(tests + 3));
    LOAD(p, args[0]);
    for (size_t i = 0; i < c->n_first; i++)
        add(p, EQUAL, c->first[i], (uint8_t)(c->n_first - i), 0);
    if (!c->n_first)
        add(p, ANY_BIT, c->never, 0, 1);
    RETURN(p, SECCOMP_RET_ERRNO | EPERM);
    RETURN(p, SECCOMP_RET_ALLOW);
}

int allow_calls(const int *any, size_t n_any, const struct allowed_call *some, size_t n_some)
{
    struct program p = {.n = 0};
    if (n_any + n_some + 1 > ALLOW_MAX)
        return -E2BIG;
    LOAD(&p, arch);
    add(&p, EQUAL, OUR_ARCH, 1, 0);
    RETURN(&p, SECCOMP_RET_KILL_PROCESS);
    LOAD(&p, nr);
    for (size_t i = 0; i < n_some; i++)
        add_some(&p, &some[i]);
    for (size_t i = 0; i < n_any; i++)
        add_any(&p, any[i]);
    RETURN(&p, SECCOMP_RET_ERRNO | ENOSYS);
    struct sock_fprog program = {.len = (unsigned short)p.n, .filter = p.code};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0 ? -errno : 0;
}

/* A call whose third argument has none of these bits, or (0) is not there at all. */
static void add_never(struct program *p, int number, uint32_t never)
{
    add(p, EQUAL, (uint32_t)number, 0, never ? 4 : 1);
    if (never) {
        LOAD(p, args[2]);
        add(p, ANY_BIT, never, 1, 0);
        RETURN(p, SECCOMP_RET_ALLOW);
    }
    RETURN(p, SECCOMP_RET_ERRNO | EPERM);
}

int forbid_new_code(void)
{
    static const int gone[] = {SYS_execve, SYS_execveat, SYS_memfd_create, SYS_pkey_mprotect, SYS_ptrace, SYS_process_vm_writev};
    struct program p = {.n = 0};
    LOAD(&p, arch);
    add(&p, EQUAL, OUR_ARCH, 1, 0);
    RETURN(&p, SECCOMP_RET_KILL_PROCESS);
    LOAD(&p, nr);
#ifdef __x86_64__
    add(&p, BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1); /* the same calls under the numbers of x32 */
    RETURN(&p, SECCOMP_RET_KILL_PROCESS);
#endif
    for (size_t i = 0; i < ARRAY_SIZE(gone); i++)
        add_never(&p, gone[i], 0);
    add_never(&p, SYS_mmap, PROT_EXEC);
    add_never(&p, SYS_mprotect, PROT_EXEC);
    RETURN(&p, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {.len = (unsigned short)p.n, .filter = p.code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0 ? -errno : 0;
}
