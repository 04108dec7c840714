/* base: errors, memory, arena, files, UTF-8. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/cgroup.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/os.h"
#include "base/utf8.h"

Test(error, message_is_formatted_cut_and_prefixed)
{
    struct nano_error err = {0};
    cr_assert_eq(nano_error_set(&err, NANO_ERR_FORMAT, "tensor '%s'", "x"), NANO_ERR_FORMAT);
    cr_assert_str_eq(err.message, "tensor 'x'");
    cr_assert_eq(nano_error_prefix(&err, "%s", "file.gguf"), NANO_ERR_FORMAT);
    cr_assert_str_eq(err.message, "file.gguf: tensor 'x'");
    char longer[2000];
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    nano_error_set(&err, NANO_ERR_IO, "%s", longer);
    cr_assert_eq(strlen(err.message), sizeof err.message - 1);
    cr_assert_eq(nano_error_set(NULL, NANO_ERR_IO, "ignored"), NANO_ERR_IO);
}

Test(memory, overflow_is_refused)
{
    cr_assert_null(nano_mem_alloc(SIZE_MAX / 2, 3));
    cr_assert_null(nano_mem_calloc(SIZE_MAX, 2));
    cr_assert_null(nano_mem_alloc_aligned(SIZE_MAX));
    cr_assert_null(nano_mem_alloc_aligned(SIZE_MAX - 4096));
    size_t size;
    cr_assert(nano_mem_size(3, 4, 5, &size));
    cr_assert_eq(size, 17);
    cr_assert_not(nano_mem_size(SIZE_MAX, 1, 1, &size));
}

Test(memory, nth_allocation_fails)
{
    nano_mem_fail_after(2);
    void *first = nano_mem_alloc(1, 10);
    cr_assert_not_null(first);
    cr_assert_null(nano_mem_alloc(1, 10));
    cr_assert_null(nano_mem_alloc_aligned(10));
    cr_assert_null(nano_mem_alloc_aligned((size_t)5 << 20));
    cr_assert_eq(nano_mem_fail_after(0), 4);
    nano_mem_free(first);
    void *again = nano_mem_alloc(1, 10);
    cr_assert_not_null(again);
    nano_mem_free(again);
}

Test(memory, aligned_blocks_of_all_sizes)
{
    for (size_t n = 0; n < (size_t)20 << 20; n = n * 3 + 1) {
        unsigned char *p = nano_mem_alloc_aligned(n);
        cr_assert_not_null(p);
        cr_assert_eq((uintptr_t)p % NANO_CACHE_LINE, 0);
        if (n >= (size_t)4 << 20)
            cr_assert_eq((uintptr_t)p % ((size_t)2 << 20), 0);
        for (size_t i = 0; i < n; i += 997)
            cr_assert_eq(p[i], 0);
        if (n)
            memset(p, 0xAA, n);
        nano_mem_free_aligned(p, n);
    }
}

Test(memory, grow_keeps_content)
{
    int *array = NULL;
    size_t capacity = 0;
    for (size_t i = 0; i < 1000; i++) {
        cr_assert(nano_mem_grow((void **)&array, &capacity, i + 1, sizeof *array));
        array[i] = (int)i;
    }
    for (size_t i = 0; i < 1000; i++)
        cr_assert_eq(array[i], (int)i);
    cr_assert_not(nano_mem_grow((void **)&array, &capacity, SIZE_MAX / 2, sizeof *array));
    cr_assert_eq(array[999], 999);
    nano_mem_free(array);
}

Test(arena, pieces_are_zeroed_aligned_and_apart)
{
    struct nano_arena arena;
    nano_arena_init(&arena);
    cr_assert_not_null(nano_arena_alloc(&arena, 0, 8));
    unsigned char *previous = NULL;
    for (size_t i = 1; i < 3000; i++) {
        unsigned char *p = nano_arena_alloc(&arena, i, 1);
        cr_assert_not_null(p);
        cr_assert_eq((uintptr_t)p % 16, 0);
        for (size_t k = 0; k < i; k++)
            cr_assert_eq(p[k], 0);
        memset(p, 0xAA, i);
        if (previous)
            cr_assert_eq(previous[i - 2], 0xAA);
        previous = p;
    }
    cr_assert_str_eq(nano_arena_strdup(&arena, "hello world", 5), "hello");
    cr_assert_null(nano_arena_alloc(&arena, SIZE_MAX, 2));
    nano_arena_deinit(&arena);
}

Test(os, files_and_their_errors)
{
    struct nano_os_file file;
    struct nano_error err;
    cr_assert_eq(nano_os_file_open(&file, "/nonexistent/file", &err), NANO_ERR_IO);
    cr_assert(strstr(err.message, "/nonexistent/file"));
    cr_assert_eq(nano_os_file_open(&file, "/tmp", &err), NANO_ERR_IO);
    cr_assert(strstr(err.message, "directory"));
    char path[] = "/tmp/nano_test_base_XXXXXX";
    int fd = mkstemp(path);
    cr_assert(fd >= 0);
    cr_assert_eq(nano_os_file_open(&file, path, &err), NANO_OK);
    cr_assert_eq(file.num_bytes, 0);
    nano_os_file_close(&file);
    cr_assert_eq(write(fd, "content", 7), 7);
    close(fd);
    cr_assert_eq(nano_os_file_open(&file, path, &err), NANO_OK);
    cr_assert_eq(file.num_bytes, 7);
    cr_assert_eq(memcmp(file.data, "content", 7), 0);
    nano_os_file_close(&file);
    unlink(path);
    cr_assert_geq(nano_os_num_cpus(), 1);
    cr_assert_gt(nano_os_peak_rss_bytes(), 0);
    cr_assert_neq(nano_os_random_seed(), nano_os_random_seed());
}

/* A file system of limits: files under a new directory. */
struct fake_root {
    char path[64];
};

static void fake_file(const struct fake_root *root, const char *name, const char *text)
{
    char path[512];
    for (const char *slash = strchr(name + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(path, sizeof path, "%s%.*s", root->path, (int)(slash - name), name);
        mkdir(path, 0700);
    }
    snprintf(path, sizeof path, "%s%s", root->path, name);
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file, "%s", path);
    fputs(text, file);
    fclose(file);
}

static struct fake_root fake_begin(const char *groups, const char *mounts)
{
    struct fake_root root = {"/tmp/nano_test_cgroup_XXXXXX"};
    cr_assert_not_null(mkdtemp(root.path));
    fake_file(&root, "/proc/self/cgroup", groups);
    fake_file(&root, "/proc/self/mountinfo", mounts);
    return root;
}

static void fake_end(const struct fake_root *root, int expected)
{
    char command[128];
    cr_expect_eq(nano_cgroup_cpus(root->path), expected, "%d, expected %d",
                 nano_cgroup_cpus(root->path), expected);
    snprintf(command, sizeof command, "rm -r '%s'", root->path);
    cr_assert_eq(system(command), 0);
}

#define V2_MOUNT "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
#define V1_MOUNTS                                                                \
    "31 23 0:29 / /sys/fs/cgroup/cpuset rw shared:9 - cgroup cgroup rw,cpuset\n" \
    "32 23 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct\n"

Test(cgroup, version_2_takes_the_tightest_limit_on_the_way_up)
{
    struct fake_root root = fake_begin("0::/user.slice/service/worker\n", V2_MOUNT);
    fake_file(&root, "/sys/fs/cgroup/user.slice/cpu.max", "250000 100000\n");
    fake_file(&root, "/sys/fs/cgroup/user.slice/service/cpu.max", "max 100000\n");
    fake_file(&root, "/sys/fs/cgroup/user.slice/service/worker/cpu.max", "800000 200000\n");
    fake_file(&root, "/sys/fs/cgroup/user.slice/other/cpu.max", "1000 100000\n");
    fake_end(&root, 3);
    root = fake_begin("0::/\n", V2_MOUNT);
    fake_file(&root, "/sys/fs/cgroup/cpu.max", "10000 100000\n");
    fake_end(&root, 1);
    root = fake_begin("0::/\n", V2_MOUNT);
    fake_end(&root, 0);
    root = fake_begin("0::/a\n", V2_MOUNT);
    fake_file(&root, "/sys/fs/cgroup/a/cpu.max", "max 100000\n");
    fake_end(&root, 0);
}

Test(cgroup, version_1_is_found_among_other_controllers)
{
    const char *groups = "7:cpuset:/x\n4:cpuacct,cpu:/docker/abc\n1:name=systemd:/y\n0::/z\n";
    struct fake_root root = fake_begin(groups, V1_MOUNTS V2_MOUNT);
    fake_file(&root, "/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "150000\n");
    fake_file(&root, "/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000\n");
    fake_file(&root, "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
    fake_file(&root, "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    fake_end(&root, 2);
    /* Both versions limit: the tighter one counts. */
    root = fake_begin(groups, V1_MOUNTS V2_MOUNT);
    fake_file(&root, "/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "400000\n");
    fake_file(&root, "/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000\n");
    fake_file(&root, "/sys/fs/cgroup/z/cpu.max", "300000 100000\n");
    fake_end(&root, 3);
}

Test(cgroup, a_container_sees_its_group_as_the_mount)
{
    const char *mount = "40 23 0:30 /docker/abc /sys/fs/cgroup ro - cgroup cgroup rw,cpu\n";
    static const char *const groups[] = {"4:cpu:/docker/abc\n", "4:cpu:/docker/abcdef\n",
                                         "4:cpu:/\n"};
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        struct fake_root root = fake_begin(groups[i], mount);
        fake_file(&root, "/sys/fs/cgroup/cpu.cfs_quota_us", "200000\n");
        fake_file(&root, "/sys/fs/cgroup/cpu.cfs_period_us", "100000\n");
        fake_end(&root, 2);
    }
    struct fake_root root = fake_begin("4:cpu:/docker/abc/inner\n", mount);
    fake_file(&root, "/sys/fs/cgroup/inner/cpu.cfs_quota_us", "100000\n");
    fake_file(&root, "/sys/fs/cgroup/inner/cpu.cfs_period_us", "100000\n");
    fake_end(&root, 1);
}

Test(cgroup, nonsense_is_no_limit)
{
    static const char *const files[][3] = {{"0::", V2_MOUNT, "100000 100000"},
                                           {"0::/a\n", V2_MOUNT, "0 0\n"},
                                           {"0::/a\n", V2_MOUNT, "100000 0\n"},
                                           {"0::/a\n", V2_MOUNT, "-5 100000\n"},
                                           {"0::/a\n", V2_MOUNT, "9000000000000000000 1\n"},
                                           {"0::/a\n", V2_MOUNT, "abc\n"},
                                           {"0:/a\n", " - cgroup2 \n - \n-\n1 2 - cgroup2", ""}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct fake_root root = fake_begin(files[i][0], files[i][1]);
        fake_file(&root, "/sys/fs/cgroup/a/cpu.max", files[i][2]);
        fake_end(&root, 0);
    }
    cr_expect_eq(nano_cgroup_cpus("/nonexistent"), 0);
}

Test(utf8, every_code_point_round_trips)
{
    for (uint32_t c = 0; c <= 0x110000; c++) {
        char bytes[4];
        uint32_t back = 0;
        int length = nano_utf8_encode(c, bytes);
        bool valid = c <= 0x10FFFF && !(c >= 0xD800 && c <= 0xDFFF);
        cr_assert_eq(length > 0, valid);
        if (!valid)
            continue;
        cr_assert_eq(nano_utf8_decode(bytes, (size_t)length, &back), length);
        cr_assert_eq(back, c);
        cr_assert_eq(nano_utf8_valid_prefix(bytes, (size_t)length), (size_t)length);
        for (int cut = 1; cut < length; cut++) {
            cr_assert_eq(nano_utf8_decode(bytes, (size_t)cut, &back), 0);
            cr_assert_eq(nano_utf8_incomplete_suffix(bytes, (size_t)cut), (size_t)cut);
        }
        cr_assert_eq(nano_utf8_incomplete_suffix(bytes, (size_t)length), 0);
    }
}

Test(utf8, invalid_bytes_are_found)
{
    static const char *const bad[] = {
        "\x80",         "\xC0\x80",         "\xC1\xBF",         "\xE0\x80\x80",
        "\xED\xA0\x80", "\xF0\x80\x80\x80", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80",
        "\xFF"};
    uint32_t c;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert_eq(nano_utf8_decode(bad[i], strlen(bad[i]), &c), 0);
        char text[64];
        snprintf(text, sizeof text, "plain text \xC3\xA9 %s more text", bad[i]);
        cr_assert_eq(nano_utf8_valid_prefix(text, strlen(text)), 14);
        cr_assert_eq(nano_utf8_incomplete_suffix(bad[i], strlen(bad[i])), 0);
    }
}
