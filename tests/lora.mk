LORA_TEST_SOURCES = tests/lora_fixture.c tests/lora_fixture.h tests/gguf_builder.c tests/gguf_builder.h

check_PROGRAMS += tests/test_lora
tests_test_lora_SOURCES = tests/test_lora.c $(LORA_TEST_SOURCES) $(RUNNER_TEST_SOURCES)
tests_test_lora_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_lora_LDADD = $(LOWER_LIBS)
