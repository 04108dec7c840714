check_PROGRAMS += tests/test_engine
tests_test_engine_SOURCES = \
  tests/engine_harness.c tests/engine_harness.h $(LORA_TEST_SOURCES) \
  tests/random_schedules.c tests/random_schedules.h \
  tests/test_block_manager.c \
  tests/test_candidates.c \
  tests/test_engine.c \
  tests/test_engine_ahead.c \
  tests/test_engine_draws.c \
  tests/test_engine_faults.c \
  tests/test_engine_random.c \
  tests/test_sampler.c \
  tests/test_speculative.c \
  tests/test_waiting_queue.c
tests_test_engine_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_engine_LDADD = $(TEST_LIBS)

check_PROGRAMS += tests/test_embedding
tests_test_embedding_SOURCES = \
  tests/embedding_fixture.h \
  tests/engine_harness.c tests/engine_harness.h \
  tests/test_embedding.c \
  tests/tiny_model.c tests/tiny_model.h $(GGUF_BUILDER)
tests_test_embedding_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_embedding_LDADD = $(TEST_LIBS)

check_PROGRAMS += tests/test_encoder
tests_test_encoder_SOURCES = \
  tests/embedding_fixture.h \
  tests/grown_model.c tests/grown_model.h tests/grown_specs.c \
  tests/test_encoder.c \
  tests/tiny_model.c tests/tiny_model.h $(GGUF_BUILDER)
tests_test_encoder_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_encoder_LDADD = $(TEST_LIBS)

check_PROGRAMS += tests/fuzz/fuzz_scheduler
tests_fuzz_fuzz_scheduler_SOURCES = tests/fuzz/fuzz_scheduler.c tests/fuzz/replay.c
tests_fuzz_fuzz_scheduler_LDADD = $(NANO_LAYERS) $(NANO_LIBS)

check_PROGRAMS += tests/check_engine_threads
tests_check_engine_threads_SOURCES = tests/check_engine_threads.c tests/require.h
tests_check_engine_threads_LDADD = $(NANO_LAYERS) $(NANO_LIBS)

noinst_PROGRAMS += bench/bench_sampler
bench_bench_sampler_SOURCES = bench/bench_sampler.c
bench_bench_sampler_LDADD = $(NANO_LAYERS) $(NANO_LIBS)
