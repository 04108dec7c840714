/* Mock runners: no model.
 *
 *   mock          the next token is a hash of the last one and its position; costs next to nothing,
 *                 so it measures the engine alone
 *   mock-kv       keeps a pool in which every slot holds a hash of the slot before it and its own
 *                 token, and the next token depends on it: as with a real model, a wrong block, a
 *                 stale slot or a sequence that reads another's changes the tokens
 *   mock-windows  the same in several KV groups, most of them with windows; a step fails when what
 *                 a token sees in a group is not what the sequence has stored there
 *   mock-window   the same in one group, which has a window
 *   mock-state    no pool: the hash is a recurrent state
 *   mock-hybrid   two groups and a recurrent state that must agree
 *
 *   mock-device   as mock, but like a device: it draws, and a batch can be begun while another one
 *                 computes, which takes $NANOVLLM_MOCK_STEP_US microseconds (none, if not set)
 *   mock-device-kv, mock-device-windows
 *                 as mock-kv and mock-windows, like a device
 *
 * All but "mock" and "mock-device" give the same tokens, where devices do not draw. */
#ifndef NANO_RUNNER_MOCK_RUNNER_H
#define NANO_RUNNER_MOCK_RUNNER_H

#include "runner/runner.h"

#define NANO_MOCK_VOCAB_SIZE 1024
#define NANO_MOCK_HIDDEN_SIZE 8 /* of numbers in [0, 1) made of the hash */

extern const struct nano_runner nano_runner_mock;
extern const struct nano_runner nano_runner_mock_kv;
extern const struct nano_runner nano_runner_mock_windows;
extern const struct nano_runner nano_runner_mock_window;
extern const struct nano_runner nano_runner_mock_state;
extern const struct nano_runner nano_runner_mock_hybrid;
extern const struct nano_runner nano_runner_mock_device;
extern const struct nano_runner nano_runner_mock_device_kv;
extern const struct nano_runner nano_runner_mock_device_windows;

/* What mock-kv stores in a slot: a hash of its token and the slot before it (0 before the first),
 * and the token that it predicts from there when sampling is greedy. */
uint32_t nano_mock_hash(int32_t token, uint32_t before);
int32_t nano_mock_token(uint32_t hash);

#endif
