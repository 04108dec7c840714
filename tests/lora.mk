LORA_TEST_SOURCES = tests/lora_fixture.c tests/lora_fixture.h tests/gguf_builder.c tests/gguf_builder.h

check_PROGRAMS += tests/test_lora
tests_test_lora_SOURCES = \
  tests/test_lora.c $(LORA_TEST_SOURCES) $(RUNNER_TEST_SOURCES) \
  tests/grown_model.c tests/grown_model.h tests/grown_specs.c
tests_test_lora_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_lora_LDADD = $(LOWER_LIBS)

check_PROGRAMS += tests/test_lora_engine
tests_test_lora_engine_SOURCES = \
  tests/test_lora_engine.c tests/leak_check.h $(LORA_TEST_SOURCES) \
  tests/engine_harness.c tests/engine_harness.h tests/tiny_model.c tests/tiny_model.h
tests_test_lora_engine_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_lora_engine_LDADD = $(TEST_LIBS)
