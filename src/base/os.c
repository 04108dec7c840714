/* os: Linux and other POSIX systems. */
#define _GNU_SOURCE
#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#endif
#if defined(__linux__) && defined(__aarch64__)
#include <sys/auxv.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

#include "base/cgroup.h"

#define HUGE_PAGE_BYTES ((size_t)2 << 20)

enum nano_status nano_os_file_open(struct nano_os_file *out, const char *path,
                                   struct nano_error *err)
{
    *out = (struct nano_os_file){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return nano_error_set(err, NANO_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    struct stat st;
    if (fstat(fd, &st) != 0) {
        int error = errno;
        close(fd);
        return nano_error_set(err, NANO_ERR_IO, "%s: cannot stat: %s", path, strerror(error));
    }
    if (!S_ISREG(st.st_mode)) {
        close(fd);
        return nano_error_set(err, NANO_ERR_IO, "%s: is %s, expected a file", path,
                              S_ISDIR(st.st_mode) ? "a directory" : "not a regular file");
    }
    if (st.st_size > 0) {
        void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            int error = errno;
            close(fd);
            return nano_error_set(err, NANO_ERR_IO, "%s: cannot map %lld bytes: %s", path,
                                  (long long)st.st_size, strerror(error));
        }
        out->data = data;
        out->num_bytes = (size_t)st.st_size;
    }
    close(fd);
    return NANO_OK;
}

void nano_os_file_close(struct nano_os_file *file)
{
    if (file->data)
        munmap((void *)(uintptr_t)file->data, file->num_bytes);
    *file = (struct nano_os_file){0};
}

#ifdef __linux__
/* Advises whole pages; true if [data, data + num_bytes) lies in the file. */
static bool advise(const struct nano_os_file *file, const void *data, size_t num_bytes, int advice)
{
    const uintptr_t begin = (uintptr_t)data, first = (uintptr_t)file->data;
    if (!file->data || begin < first || begin - first > file->num_bytes ||
        num_bytes > file->num_bytes - (begin - first))
        return false;
    const uintptr_t page = begin - begin % (uintptr_t)sysconf(_SC_PAGE_SIZE);
    if (num_bytes)
        madvise((void *)page, begin - page + num_bytes, advice);
    return true;
}
#endif

bool nano_os_file_will_read(const struct nano_os_file *file, const void *data, size_t num_bytes)
{
#ifdef __linux__
    return advise(file, data, num_bytes, MADV_WILLNEED);
#else
    (void)file, (void)data, (void)num_bytes;
    return false;
#endif
}

bool nano_os_file_release(const struct nano_os_file *file, const void *data, size_t num_bytes)
{
#ifdef __linux__ /* elsewhere DONTNEED means something else, or nothing */
    return advise(file, data, num_bytes, MADV_DONTNEED);
#else
    (void)file, (void)data, (void)num_bytes;
    return false;
#endif
}

bool nano_os_file_exists(const char *path)
{
    return access(path, R_OK) == 0;
}

bool nano_os_file_is_special(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
}

bool nano_os_is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

void *nano_os_map_anonymous(size_t num_bytes)
{
    const size_t page_bytes = (size_t)sysconf(_SC_PAGE_SIZE);
    if (num_bytes > SIZE_MAX - HUGE_PAGE_BYTES - page_bytes)
        return NULL;
    num_bytes = (num_bytes + page_bytes - 1) / page_bytes * page_bytes;
    /* What is mapped too much, to find an aligned place in, is given back. */
    unsigned char *mapped = mmap(NULL, num_bytes + HUGE_PAGE_BYTES, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED)
        return NULL;
    const size_t before = (size_t)(-(uintptr_t)mapped % HUGE_PAGE_BYTES);
    unsigned char *memory = mapped + before;
    if (before)
        munmap(mapped, before);
    munmap(memory + num_bytes, HUGE_PAGE_BYTES - before);
#ifdef MADV_HUGEPAGE
    madvise(memory, num_bytes, MADV_HUGEPAGE);
#endif
    return memory;
}

void nano_os_unmap(void *memory, size_t num_bytes)
{
    munmap(memory, num_bytes);
}

uint64_t nano_os_clock_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t nano_os_random_seed(void)
{
    static _Atomic uint64_t counter;
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    uint64_t x = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
    x ^= (uint64_t)getpid() << 40;
    x += 0x9E3779B97F4A7C15u *
         ++counter; /* the splitmix64 step and finaliser (Steele et al., 2014) */
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

int nano_os_num_cpus(void)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        count = CPU_COUNT(&set);
    int limit = nano_cgroup_cpus("");
    if (limit > 0 && limit < count)
        count = limit;
#endif
    return count < 1 ? 1 : (int)count;
}

#if defined(__linux__) && defined(__aarch64__)
/* Bits of the kernel's interface, which headers older than the processors lack. */
bool nano_os_arm_has_dotprod(void)
{
    return getauxval(AT_HWCAP) >> 20 & 1;
}

bool nano_os_arm_has_i8mm(void)
{
    return getauxval(AT_HWCAP2) >> 13 & 1;
}
#else
static bool has_feature(const char *name)
{
    int value = 0;
#ifdef __APPLE__
    size_t bytes = sizeof value;
    if (sysctlbyname(name, &value, &bytes, NULL, 0) != 0)
        value = 0;
#else
    (void)name;
#endif
    return value != 0;
}

bool nano_os_arm_has_dotprod(void)
{
    return has_feature("hw.optional.arm.FEAT_DotProd");
}

bool nano_os_arm_has_i8mm(void)
{
    return has_feature("hw.optional.arm.FEAT_I8MM");
}
#endif

uint64_t nano_os_peak_rss_bytes(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0)
        return 0;
#ifdef __APPLE__
    return (uint64_t)usage.ru_maxrss;
#else
    return (uint64_t)usage.ru_maxrss * 1024u;
#endif
}

uint64_t nano_os_rss_bytes(void)
{
    unsigned long long pages = 0;
#ifdef __linux__
    FILE *file = fopen("/proc/self/statm", "re");
    if (file) {
        if (fscanf(file, "%*u %llu", &pages) != 1)
            pages = 0;
        fclose(file);
    }
#endif
    long page = sysconf(_SC_PAGE_SIZE);
    return page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
}

uint64_t nano_os_physical_bytes(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGE_SIZE);
    return pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
}

bool nano_os_data_dir(char *out, size_t out_bytes)
{
    char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length <= 0)
        return false;
    path[length] = '\0';
    for (int up = 0; up < 2; up++) { /* strip the program's name, then "bin" */
        char *slash = strrchr(path, '/');
        if (!slash)
            return false;
        *slash = '\0';
    }
    int written = snprintf(out, out_bytes, "%s/share/nanovllm", path);
    return written > 0 && (size_t)written < out_bytes;
}

void nano_os_spin_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void nano_os_wait_while(_Atomic uint32_t *word, uint32_t value)
{
#ifdef __linux__
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
#else
    (void)word;
    (void)value;
    sched_yield();
#endif
}

void nano_os_wake_all(_Atomic uint32_t *word)
{
#ifdef __linux__
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
#else
    (void)word;
#endif
}
