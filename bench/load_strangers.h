/* Connections that are not clients and that a server must bear: idle ones, those that dribble a
 * byte of a request now and then, those that ask for much and read nothing. */
#ifndef NANO_BENCH_LOAD_STRANGERS_H
#define NANO_BENCH_LOAD_STRANGERS_H

#include "load_request.h"
#include "load_socket.h"
#include "load_stats.h"

struct load_strangers;

/* Opens them. NULL: there is no memory. What is passed is borrowed. */
struct load_strangers *load_strangers_create(const struct load_options *options,
                                             const struct load_target *target,
                                             struct load_stats *stats, uint64_t now_ns);
void load_strangers_destroy(struct load_strangers *strangers);

/* Every idle connection had its first answer, and every slow reader has asked. */
bool load_strangers_are_ready(const struct load_strangers *strangers);

/* To be called more often than once in a second. */
void load_strangers_tick(struct load_strangers *strangers, uint64_t now_ns);

/* Lets idle connections ask once more and slow readers read; the end of it is that
 * load_strangers_are_settled. */
void load_strangers_settle(struct load_strangers *strangers, uint64_t now_ns);
bool load_strangers_are_settled(const struct load_strangers *strangers);

#endif
