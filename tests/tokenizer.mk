HF_FIXTURE = tests/hf_fixture.c tests/hf_fixture.h
TOKENIZER_FIXTURE = tests/tokenizer_fixture.c tests/tokenizer_fixture.h

check_PROGRAMS += tests/test_tokenizer tests/test_tokenizer_parts tests/test_tokenizer_data
tests_test_tokenizer_SOURCES = tests/test_tokenizer.c $(TOKENIZER_FIXTURE)
tests_test_tokenizer_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS) $(PCRE2_CFLAGS)
tests_test_tokenizer_LDADD = $(TEST_LIBS)
tests_test_tokenizer_parts_SOURCES = tests/test_tokenizer_parts.c
tests_test_tokenizer_parts_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS) $(PCRE2_CFLAGS)
tests_test_tokenizer_parts_LDADD = $(TEST_LIBS)
tests_test_tokenizer_data_SOURCES = tests/test_tokenizer_data.c $(TOKENIZER_FIXTURE) $(HF_FIXTURE)
tests_test_tokenizer_data_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_tokenizer_data_LDADD = $(TEST_LIBS)

check_PROGRAMS += tests/test_pipeline
tests_test_pipeline_SOURCES = tests/test_pipeline.c $(HF_FIXTURE)
tests_test_pipeline_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS) $(JANSSON_CFLAGS)
tests_test_pipeline_LDADD = $(TEST_LIBS)

check_PROGRAMS += tests/fuzz/fuzz_pipeline
tests_fuzz_fuzz_pipeline_SOURCES = tests/fuzz/fuzz_pipeline.c tests/fuzz/replay.c $(HF_FIXTURE)
tests_fuzz_fuzz_pipeline_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_fuzz_fuzz_pipeline_LDADD = $(NANO_LAYERS) $(NANO_LIBS)

check_PROGRAMS += tests/fuzz/fuzz_tokenizer
tests_fuzz_fuzz_tokenizer_SOURCES = \
  tests/fuzz/fuzz_tokenizer.c tests/fuzz/replay.c $(TOKENIZER_FIXTURE)
tests_fuzz_fuzz_tokenizer_LDADD = $(NANO_LAYERS) $(NANO_LIBS)

noinst_PROGRAMS += bench/bench_tokenizer
bench_bench_tokenizer_SOURCES = bench/bench_tokenizer.c
bench_bench_tokenizer_LDADD = $(NANO_LAYERS) $(NANO_LIBS)
