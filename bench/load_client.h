/* Clients that are measured: each sends a request, reads its answer as it comes, then takes the
 * next. A connection is kept for the next request where the server allows it. */
#ifndef NANO_BENCH_LOAD_CLIENT_H
#define NANO_BENCH_LOAD_CLIENT_H

#include "load_request.h"
#include "load_socket.h"
#include "load_stats.h"

struct load_clients;

/* NULL: there is no memory. What is passed is borrowed. */
struct load_clients *load_clients_create(const struct load_options *options,
                                         const struct load_target *target,
                                         struct load_stats *stats);
void load_clients_destroy(struct load_clients *clients);

/* Lets a client that is free send request `number`; false when none is. */
bool load_clients_start(struct load_clients *clients, uint64_t number, uint64_t now_ns);
int load_clients_num_busy(const struct load_clients *clients);

/* Ends requests that nothing was heard of for options->timeout_s. */
void load_clients_check_time(struct load_clients *clients, uint64_t now_ns);

#endif
