/* cgroup: how much processor time Linux's control groups leave to this process. */
#ifndef NANO_BASE_CGROUP_H
#define NANO_BASE_CGROUP_H

/* CPUs' worth of time in the tightest limit on the process's group and those above it (cpu.max of
 * version 2, cpu.cfs_quota_us of version 1), rounded up; 0: no limit is found. `root` comes before
 * all paths: "" for the system's own, another directory in tests. */
int nano_cgroup_cpus(const char *root);

#endif
