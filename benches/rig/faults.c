/* One call fails, for the fault rig: LD_PRELOAD that counts the calls which change files below some folders, and makes
 * the k-th of one kind fail, once. All others are carried out.
 *
 * FAULTS names a file of the shape of `struct plan`, which the rig makes: what is to fail, how often each kind was
 * called, and what was hit. It is mapped, so that it outlives a program that is killed, and goes on counting in the next.
 * FAULTS_BELOW names the folders, with colons between them.
 *
 * Calls are stopped where they enter the kernel (seccomp, SIGSYS), since not all of them pass through libc. One that is
 * let through is made again with a mark in an argument that the call does not have. pwritev2 has no such argument;
 * nothing here uses it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ANSWER(context) ((context)->uc_mcontext.gregs[REG_RAX])
#define ARGUMENTS(context)                                                                                            \
    {(context)->uc_mcontext.gregs[REG_RDI], (context)->uc_mcontext.gregs[REG_RSI],                                   \
     (context)->uc_mcontext.gregs[REG_RDX], (context)->uc_mcontext.gregs[REG_R10],                                   \
     (context)->uc_mcontext.gregs[REG_R8]}
#elif defined(__aarch64__)
#define ANSWER(context) ((context)->uc_mcontext.regs[0])
#define ARGUMENTS(context)                                                                                            \
    {(long)(context)->uc_mcontext.regs[0], (long)(context)->uc_mcontext.regs[1], (long)(context)->uc_mcontext.regs[2], \
     (long)(context)->uc_mcontext.regs[3], (long)(context)->uc_mcontext.regs[4]}
#else
#error "how are calls made here?"
#endif

#define MARK 0x6661756c

enum kind { WRITE, SHORT, SYNC, RENAME, OPEN, TRUNCATE, ALLOCATE, UNLINK, KINDS };

/* faults.py knows this shape. */
struct plan {
    uint64_t kind, error, nth;
    _Atomic uint64_t delivered, counts[KINDS];
    char what[4200];
};

/* How a call names its file: a descriptor first, a path first, or a folder and a path. */
enum named { BY_FD, BY_PATH, BY_FOLDER };

static const struct call {
    int number;
    enum kind kind;
    enum named named;
    const char *name;
} calls[] = {
    {SYS_write, WRITE, BY_FD, "write"},
    {SYS_pwrite64, WRITE, BY_FD, "pwrite"},
    {SYS_writev, WRITE, BY_FD, "writev"},
    {SYS_pwritev, WRITE, BY_FD, "pwritev"},
    {SYS_fsync, SYNC, BY_FD, "fsync"},
    {SYS_fdatasync, SYNC, BY_FD, "fdatasync"},
    {SYS_sync_file_range, SYNC, BY_FD, "sync_file_range"},
#ifdef SYS_rename
    {SYS_rename, RENAME, BY_PATH, "rename"},
    {SYS_open, OPEN, BY_PATH, "open"},
    {SYS_creat, OPEN, BY_PATH, "creat"},
    {SYS_unlink, UNLINK, BY_PATH, "unlink"},
#endif
#ifdef SYS_renameat
    {SYS_renameat, RENAME, BY_FOLDER, "renameat"},
#endif
    {SYS_renameat2, RENAME, BY_FOLDER, "renameat2"},
    {SYS_openat, OPEN, BY_FOLDER, "openat"},
    {SYS_openat2, OPEN, BY_FOLDER, "openat2"},
    {SYS_ftruncate, TRUNCATE, BY_FD, "ftruncate"},
    {SYS_truncate, TRUNCATE, BY_PATH, "truncate"},
    {SYS_fallocate, ALLOCATE, BY_FD, "fallocate"},
    {SYS_unlinkat, UNLINK, BY_FOLDER, "unlinkat"},
};
#define CALLS (sizeof calls / sizeof *calls)

static struct plan *plan;
static char below[4096];

static int is_below(const char *path) {
    for (const char *folder = below; *folder;) {
        size_t len = strcspn(folder, ":");
        if (len && !strncmp(path, folder, len) && (path[len] == '/' || !path[len])) return 1;
        folder += len + (folder[len] == ':');
    }
    return 0;
}

/* Where a descriptor leads to; empty where that is unknown. */
static void path_of(int fd, char *path, size_t size) {
    char link[32];
    if (fd == AT_FDCWD) strcpy(link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, size - 1);
    path[len < 0 ? 0 : len] = 0;
}

static void path_in(const struct call *call, const long *argument, char *path, size_t size) {
    if (call->named == BY_FD) return path_of((int)argument[0], path, size);
    const char *named = (const char *)argument[call->named == BY_FOLDER];
    if (!named) named = "";
    path[0] = 0;
    if (named[0] != '/') path_of(call->named == BY_FOLDER ? (int)argument[0] : AT_FDCWD, path, size);
    size_t len = strlen(path);
    snprintf(path + len, size - len, "%s%s", len && *named ? "/" : "", named);
}

/* Bytes that a write would write first. */
static struct iovec first_of(const struct call *call, const long *argument) {
    if (call->number == SYS_write || call->number == SYS_pwrite64)
        return (struct iovec){(void *)argument[1], (size_t)argument[2]};
    return argument[2] > 0 ? *(const struct iovec *)argument[1] : (struct iovec){0};
}

static long half_of(const struct call *call, const long *argument, struct iovec all) {
    long written = call->number == SYS_write || call->number == SYS_writev
                       ? syscall(SYS_write, argument[0], all.iov_base, all.iov_len / 2, 0, 0, MARK)
                       : syscall(SYS_pwrite64, argument[0], all.iov_base, all.iov_len / 2, argument[3], 0, MARK);
    return written < 0 ? -errno : written;
}

/* Counts a call of this kind. Whether it is the one. */
static int is_the_one(enum kind kind) {
    uint64_t nth = atomic_fetch_add(&plan->counts[kind], 1) + 1;
    return plan->nth == nth && plan->kind == kind;
}

static long answer_to(const struct call *call, const long *argument) {
    char path[4096];
    path_in(call, argument, path, sizeof path);
    if (is_below(path)) {
        struct iovec all = {0};
        int one = is_the_one(call->kind), half = 0;
        if (call->kind == WRITE) {
            all = first_of(call, argument);
            half = all.iov_len >= 2 && is_the_one(SHORT);
        }
        if (one || half) {
            snprintf(plan->what, sizeof plan->what, "%s %s", call->name, path);
            atomic_fetch_add(&plan->delivered, 1);
            return half ? half_of(call, argument, all) : -(long)plan->error;
        }
    }
    long answer = syscall(call->number, argument[0], argument[1], argument[2], argument[3], argument[4], MARK);
    return answer < 0 ? -errno : answer;
}

static void on_call(int signal, siginfo_t *info, void *context) {
    (void)signal;
    int before = errno;
    ucontext_t *caller = context;
    long argument[] = ARGUMENTS(caller);
    long answer = -ENOSYS;
    for (size_t i = 0; i < CALLS; i++)
        if (calls[i].number == info->si_syscall) {
            answer = answer_to(&calls[i], argument);
            break;
        }
    ANSWER(caller) = answer;
    errno = before;
}

static void give_up(const char *why) {
    perror(why);
    abort();
}

__attribute__((constructor)) static void stand_in_the_way(void) {
    const char *file = getenv("FAULTS"), *folders = getenv("FAULTS_BELOW");
    if (!file || !folders || strlen(folders) >= sizeof below) return;
    strcpy(below, folders);
    int fd = open(file, O_RDWR | O_CLOEXEC);
    if (fd < 0) give_up("faults: the plan");
    plan = mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (plan == MAP_FAILED) give_up("faults: the plan");

    struct sock_filter rules[CALLS + 6];
    size_t n = 0;
    rules[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < CALLS; i++)
        rules[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i].number, CALLS - i, 0);
    rules[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    rules[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[5]));
    rules[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MARK, 0, 1);
    rules[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    rules[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
    struct sock_fprog program = {.len = (unsigned short)n, .filter = rules};
    /* A call inside the handler bears the mark, so the handler is never entered twice by one thread; SA_NODEFER lets
     * another signal's handler, which may come in between, make calls of its own. */
    struct sigaction action = {.sa_sigaction = on_call, .sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER};
    if (sigaction(SIGSYS, &action, NULL) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        give_up("faults");
}
