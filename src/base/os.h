/* os: the only file that knows which operating system it runs on. */
#ifndef NANO_BASE_OS_H
#define NANO_BASE_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct nano_os_file {
    const void *data; /* the whole file, read-only; NULL for an empty one */
    size_t num_bytes;
};

/* Maps a file read-only. Errors name the path: missing, unreadable, a directory. */
enum nano_status nano_os_file_open(struct nano_os_file *out, const char *path,
                                   struct nano_error *err);
void nano_os_file_close(struct nano_os_file *file);

/* Hints: the bytes will be read soon, so that the disk may begin; they are done with, so that they
 * stop counting as this process's memory. They stay readable (from the system's cache or the disk).
 * False, and nothing done, if they do not lie in the file or the system has no such hint. */
bool nano_os_file_will_read(const struct nano_os_file *file, const void *data, size_t num_bytes);
bool nano_os_file_release(const struct nano_os_file *file, const void *data, size_t num_bytes);

bool nano_os_file_exists(const char *path);
bool nano_os_is_folder(const char *path);

/* A device, a pipe or the like: what is there, but is neither a file nor a directory. */
bool nano_os_file_is_special(const char *path);

/* Zeroed memory at a multiple of 2 MiB, with huge pages advised; NULL without memory. Nothing is
 * taken before it is touched, and then from the memory that is near the thread that does. */
void *nano_os_map_anonymous(size_t num_bytes);
void nano_os_unmap(void *memory, size_t num_bytes);

/* Monotonic clock. */
uint64_t nano_os_clock_ns(void);

/* A number that differs between calls and processes (not for cryptography). */
uint64_t nano_os_random_seed(void);

/* CPUs that the calling thread may keep busy: those of its affinity mask, but no more than the time
 * that its control groups leave it (rounded up); at least 1. */
int nano_os_num_cpus(void);

/* What the system tells of an ARM processor's instructions; false on other processors. */
bool nano_os_arm_has_dotprod(void);
bool nano_os_arm_has_i8mm(void);

/* Largest resident set so far, the present one, and physical memory. 0 if unknown. */
uint64_t nano_os_peak_rss_bytes(void);
uint64_t nano_os_rss_bytes(void);
uint64_t nano_os_physical_bytes(void);

/* For threads that wait for each other: a hint to the processor inside a loop that watches memory.
 */
void nano_os_spin_pause(void);

/* Sleeps while *word is `value`, until another thread calls wake_all on it; may return early. Where
 * the system has no such call it only gives up the processor for a moment. */
void nano_os_wait_while(_Atomic uint32_t *word, uint32_t value);
void nano_os_wake_all(_Atomic uint32_t *word);

/* The directory of the running program or library file is used to find installed data next to it:
 * writes ".../share/nanovllm" guessed from the executable's path; false if unknown. */
bool nano_os_data_dir(char *out, size_t out_bytes);

#endif
