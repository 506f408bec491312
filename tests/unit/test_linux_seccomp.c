/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compiled profiles, run by an interpreter of their instructions and asked call by call.
 */
#include "base/base.h"
#include "linux/privilege.h"
#include "linux/syscall_filter.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define ALLOW        0x7fff0000u
#define ERRNO(e)     (0x00050000u | (e))
#define KILL_PROCESS 0x80000000u

struct data {
    uint32_t nr, arch;
    uint64_t ip, args[6];
};

static uint32_t alu(uint16_t op, uint32_t a, uint32_t k)
{
    assert_int_equal(op, BPF_AND);
    return a & k;
}

static bool holds(uint16_t op, uint32_t a, uint32_t k)
{
    return op == BPF_JEQ ? a == k : op == BPF_JGT ? a > k : op == BPF_JGE ? a >= k : (a & k) != 0;
}

static uint32_t run(const struct sock_filter *code, size_t n, const struct data *d)
{
    uint32_t a = 0;
    for (size_t at = 0; at < n; at++) {
        const struct sock_filter *i = &code[at];
        switch (BPF_CLASS(i->code)) {
        case BPF_LD:
            assert_in_range(i->k, 0, sizeof(*d) - 4);
            memcpy(&a, (const char *)d + i->k, 4);
            break;
        case BPF_ALU:
            a = alu(BPF_OP(i->code), a, i->k);
            break;
        case BPF_JMP:
            at += BPF_OP(i->code) == BPF_JA         ? i->k
                  : holds(BPF_OP(i->code), a, i->k) ? i->jt
                                                    : i->jf;
            break;
        case BPF_RET:
            return i->k;
        default:
            fail_msg("instruction %x", i->code);
        }
    }
    fail_msg("ran off the end");
    return 0;
}

struct compiled {
    struct sock_filter *code;
    size_t n;
};

static struct compiled compile(const char *profile, uint64_t caps)
{
    struct compiled c = {0};
    struct berth_error err = {0};
    size_t size;
    int r = seccomp_compile(profile, strlen(profile), caps, (void **)&c.code, &size, &err);
    if (r < 0)
        print_message("%s\n", err.message);
    assert_int_equal(r, 0);
    c.n = size / sizeof(struct sock_filter);
    return c;
}

static uint32_t ask(const struct compiled *c, uint32_t nr, uint64_t a0, uint64_t a1)
{
    struct data d = {.nr = nr, .arch = AUDIT_ARCH_X86_64, .args = {a0, a1}};
    return run(c->code, c->n, &d);
}

static void default_profile_answers(void **state)
{
    struct compiled c = compile(seccomp_default_profile(), capability_default());
    static const struct {
        uint32_t nr;
        uint64_t a0, a1;
        uint32_t answer;
    } cases[] = {
        {SYS_read, 0, 0, ALLOW},
        {SYS_execve, 0, 0, ALLOW},
        {SYS_futex, 0, 0, ALLOW},
        {SYS_mount, 0, 0, ERRNO(EPERM)},
        {SYS_keyctl, 0, 0, ERRNO(EPERM)},
        {SYS_add_key, 0, 0, ERRNO(EPERM)},
        {SYS_unshare, 0x10000000, 0, ERRNO(EPERM)},
        {SYS_io_uring_setup, 0, 0, ERRNO(EPERM)},
        {SYS_bpf, 0, 0, ERRNO(EPERM)},
        {SYS_userfaultfd, 0, 0, ERRNO(EPERM)},
        {SYS_clone3, 0, 0, ERRNO(ENOSYS)},
        {SYS_clone, 17, 0, ALLOW},
        {SYS_clone, 0x10000011, 0, ERRNO(EPERM)}, /* CLONE_NEWUSER */
        {SYS_clone, 0x00020011, 0, ERRNO(EPERM)}, /* CLONE_NEWNS */
        {SYS_socket, 1, 0, ALLOW},
        {SYS_socket, 2, 0, ALLOW},
        {SYS_socket, 16, 0, ALLOW},
        {SYS_socket, 17, 0, ALLOW},
        {SYS_socket, 12, 0, ERRNO(EPERM)},
        {SYS_socket, 38, 0, ERRNO(EPERM)}, /* AF_ALG */
        {SYS_socket, 40, 0, ERRNO(EPERM)}, /* AF_VSOCK */
        {SYS_socket, 45, 0, ALLOW},
        {SYS_socket, 46, 0, ERRNO(EPERM)},
        {SYS_socket, 1ULL << 32 | 17, 0, ERRNO(EPERM)},
        {SYS_ioctl, 0, 0x5401, ALLOW},
        {SYS_ioctl, 0, 0x5412, ERRNO(EPERM)}, /* TIOCSTI */
        {SYS_ioctl, 0, 1ULL << 32 | 0x5412,
         ERRNO(EPERM)}, /* the kernel looks at the lower half only */
        {SYS_ioctl, 0, 0x541c, ERRNO(EPERM)},
        {SYS_personality, 0, 0, ALLOW},
        {SYS_personality, 0xffffffff, 0, ALLOW},
        {SYS_personality, 0x40000, 0, ERRNO(EPERM)},
        {462, 0, 0, ALLOW},         /* mseal */
        {467, 0, 0, ERRNO(ENOSYS)}, /* newer than the profile */
        {500, 0, 0, ERRNO(ENOSYS)},
        {4000000, 0, 0, ERRNO(ENOSYS)},
        {0x40000000, 0, 0, ERRNO(ENOSYS)}, /* x32 read */
        {0x40000000 | 520, 0, 0, ERRNO(ENOSYS)},
        {0xffffffff, 0, 0, ERRNO(ENOSYS)},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint32_t answer = ask(&c, cases[i].nr, cases[i].a0, cases[i].a1);
        if (answer != cases[i].answer)
            print_message("call %u (%llx, %llx): %x\n", cases[i].nr,
                          (unsigned long long)cases[i].a0, (unsigned long long)cases[i].a1, answer);
        assert_int_equal(answer, cases[i].answer);
    }
    struct data i386 = {.nr = 102, .arch = AUDIT_ARCH_I386};
    assert_int_equal(run(c.code, c.n, &i386), ERRNO(EPERM)); /* socketcall */
    i386.nr = 359, i386.args[0] = 40;
    assert_int_equal(run(c.code, c.n, &i386), ERRNO(EPERM));
    i386.args[0] = 2;
    assert_int_equal(run(c.code, c.n, &i386), ALLOW);
    struct data strange = {.nr = 0, .arch = AUDIT_ARCH_AARCH64};
    assert_int_equal(run(c.code, c.n, &strange), KILL_PROCESS);
    print_message("%zu instructions\n", c.n);
    assert_in_range(c.n, 50, 600);
    free(c.code);
}

static void capabilities_open_calls(void **state)
{
    uint64_t admin = 1ULL << 21;
    struct compiled c = compile(seccomp_default_profile(), capability_default() | admin);
    assert_int_equal(ask(&c, SYS_mount, 0, 0), ALLOW);
    assert_int_equal(ask(&c, SYS_clone3, 0, 0), ALLOW);
    assert_int_equal(ask(&c, SYS_clone, 0x10000011, 0), ALLOW);
    assert_int_equal(ask(&c, SYS_reboot, 0, 0), ERRNO(EPERM));
    free(c.code);
}

/* Every operator against what it says, on both halves of an argument. */
static void operators_compare_64_bits(void **state)
{
    static const char *const ops[] = {"NE", "LT", "LE", "EQ", "GE", "GT"};
    static const uint64_t values[] = {0,           1,           5,           0xffffffff,
                                      0x100000000, 0x100000005, 0x200000005, 0xffffffffffff};
    for (size_t o = 0; o < ARRAY_SIZE(ops); o++)
        for (size_t v = 0; v < ARRAY_SIZE(values); v++) {
            char profile[400];
            snprintf(profile, sizeof(profile),
                     "{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"syscalls\":[{\"names\":[\"read\"],"
                     "\"action\":\"SCMP_ACT_ALLOW\",\"args\":[{\"index\":1,\"value\":%llu,\"op\":"
                     "\"SCMP_CMP_%s\"}]}]}",
                     (unsigned long long)values[v], ops[o]);
            struct compiled c = compile(profile, 0);
            for (size_t a = 0; a < ARRAY_SIZE(values); a++) {
                uint64_t x = values[a], y = values[v];
                bool expect[] = {x != y, x<y, x <= y, x == y, x >= y, x> y};
                assert_int_equal(ask(&c, SYS_read, 0, x), expect[o] ? ALLOW : ERRNO(EPERM));
            }
            free(c.code);
        }
}

static void prohibitions_hold_and_bad_profiles_fail(void **state)
{
    struct compiled c = compile(
        "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"mkdir\",\"chmod\"],"
        "\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":13}]}",
        0);
    assert_int_equal(ask(&c, SYS_mkdir, 0, 0), ERRNO(EACCES));
    assert_int_equal(ask(&c, SYS_chmod, 0, 0), ERRNO(EACCES));
    assert_int_equal(ask(&c, SYS_rmdir, 0, 0), ALLOW);
    assert_int_equal(ask(&c, 600, 0, 0), ALLOW);
    free(c.code);
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"defaultAction\":\"SCMP_ACT_ALLOW\"}",
        "{\"defaultAction\":\"SCMP_ACT_NONSENSE\",\"syscalls\":[]}",
        "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"mkdri\"],\"action\":"
        "\"SCMP_ACT_ERRNO\"}]}",
        "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[7],\"action\":\"SCMP_ACT_"
        "ERRNO\"}]}",
        "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],\"action\":"
        "\"SCMP_ACT_ERRNO\","
        "\"args\":[{\"index\":6,\"value\":0,\"op\":\"SCMP_CMP_EQ\"}]}]}",
        "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],\"action\":"
        "\"SCMP_ACT_NOTIFY\"}]}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        void *code;
        size_t size;
        struct berth_error err = {0};
        assert_int_equal(seccomp_compile(bad[i], strlen(bad[i]), 0, &code, &size, &err),
                         BERTH_INVALID);
        assert_true(err.message[0] != 0);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(default_profile_answers),
        cmocka_unit_test(capabilities_open_calls),
        cmocka_unit_test(operators_compare_64_bits),
        cmocka_unit_test(prohibitions_hold_and_bad_profiles_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
