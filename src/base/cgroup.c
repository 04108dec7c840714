/* cgroup: limits of processor time.
 *
 *   /proc/self/cgroup     which group the process is in:       0::/a/b    4:cpu,cpuacct:/a/b
 *   /proc/self/mountinfo  where the hierarchy is mounted, and which group is the mount's root
 *   MOUNT/a/b, MOUNT/a, MOUNT   the limits: time may be used that every one of them leaves
 *
 * Both versions may be mounted at once. In a container the mount's root is often the container's
 * own group, by its name outside or as "/"; a group that does not lie below it cannot be seen, and
 * the mount itself is taken for it. */
#include "base/cgroup.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define PATH_BYTES 4096

struct hierarchy {
    const char *root; /* before all paths */
    bool v2;
    char mount[PATH_BYTES]; /* where it is mounted; "": nowhere */
    char group[PATH_BYTES]; /* below the mount: "" or "/a/b" */
};

/* True if `item` is one of the comma-separated `list`. */
static bool list_has(const char *list, const char *item)
{
    const size_t length = strlen(item);
    for (const char *p = list; p; p = strchr(p, ',')) {
        p += *p == ',';
        if (strncmp(p, item, length) == 0 && (p[length] == ',' || p[length] == '\0'))
            return true;
    }
    return false;
}

/* The next field of a line up to `end`, which is overwritten; NULL if there is none. */
static char *take(char **line, char end)
{
    char *field = *line, *found = field ? strchr(field, end) : NULL;
    if (!found)
        return NULL;
    *found = '\0';
    *line = found + 1;
    return field;
}

/* A line of /proc/self/cgroup: "ID:CONTROLLERS:PATH". */
static void read_group(struct hierarchy *h, char *line)
{
    const char *id = take(&line, ':'), *controllers = take(&line, ':');
    if (!id || !controllers || line[0] != '/')
        return;
    if (h->v2 ? strcmp(id, "0") == 0 && !*controllers : list_has(controllers, "cpu"))
        snprintf(h->group, sizeof h->group, "%s", strcmp(line, "/") == 0 ? "" : line);
}

/* A line of /proc/self/mountinfo: "ID PARENT DEVICE ROOT MOUNT OPTIONS … - TYPE SOURCE OPTIONS". */
static void read_mount(struct hierarchy *h, char *line)
{
    char *rest = strstr(line, " - ");
    if (!rest || h->mount[0])
        return;
    rest += 3;
    const char *type = take(&rest, ' ');
    take(&rest, ' ');
    if (!type || strcmp(type, h->v2 ? "cgroup2" : "cgroup") != 0 ||
        (!h->v2 && (!rest || !list_has(rest, "cpu"))))
        return;
    take(&line, ' ');
    take(&line, ' ');
    take(&line, ' ');
    const char *mount_root = take(&line, ' '), *mount = take(&line, ' ');
    if (!mount_root || !mount)
        return;
    snprintf(h->mount, sizeof h->mount, "%s", mount);
    size_t length = strcmp(mount_root, "/") == 0 ? 0 : strlen(mount_root);
    const bool below = strncmp(h->group, mount_root, length) == 0 &&
                       (h->group[length] == '/' || h->group[length] == '\0');
    if (below)
        memmove(h->group, h->group + length, strlen(h->group + length) + 1);
    else
        h->group[0] = '\0';
}

/* Calls `read` for every line of a file below h->root; longer lines are cut. */
static void for_lines(struct hierarchy *h, const char *path,
                      void (*read)(struct hierarchy *h, char *line))
{
    char line[3 * PATH_BYTES];
    snprintf(line, sizeof line, "%s%s", h->root, path);
    FILE *file = fopen(line, "re");
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        read(h, line);
    }
    if (file)
        fclose(file);
}

/* What a file of the current group begins with: up to two numbers; how many there are. */
static int read_numbers(const struct hierarchy *h, const char *name, long long numbers[2])
{
    char path[3 * PATH_BYTES];
    snprintf(path, sizeof path, "%s%s%s/%s", h->root, h->mount, h->group, name);
    FILE *file = fopen(path, "re");
    const int count = file ? fscanf(file, "%lld %lld", &numbers[0], &numbers[1]) : 0;
    if (file)
        fclose(file);
    return count;
}

/* CPUs that the current group is limited to, 0 if it is not. */
static int group_cpus(const struct hierarchy *h)
{
    long long v[2], period[2]; /* microseconds; the quota "max" is no number */
    if (h->v2) {
        if (read_numbers(h, "cpu.max", v) != 2)
            return 0;
    } else {
        if (read_numbers(h, "cpu.cfs_quota_us", v) < 1 ||
            read_numbers(h, "cpu.cfs_period_us", period) < 1)
            return 0;
        v[1] = period[0];
    }
    if (v[0] <= 0 || v[1] <= 0)
        return 0;
    const long long cpus = (v[0] - 1) / v[1] + 1;
    return cpus < INT_MAX ? (int)cpus : 0;
}

static int hierarchy_cpus(const char *root, bool v2)
{
    struct hierarchy h = {.root = root, .v2 = v2};
    for_lines(&h, "/proc/self/cgroup", read_group);
    for_lines(&h, "/proc/self/mountinfo", read_mount);
    if (!h.mount[0])
        return 0;
    int least = 0;
    for (;;) {
        const int cpus = group_cpus(&h);
        if (cpus && (!least || cpus < least))
            least = cpus;
        char *slash = strrchr(h.group, '/');
        if (!slash)
            return least;
        *slash = '\0';
    }
}

int nano_cgroup_cpus(const char *root)
{
    const int v1 = hierarchy_cpus(root, false), v2 = hierarchy_cpus(root, true);
    return !v1 || (v2 && v2 < v1) ? v2 : v1;
}
