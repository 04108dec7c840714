check_PROGRAMS += tests/test_tokfiles tests/fuzz/fuzz_tokenizer_json tests/fuzz/fuzz_tokenizer_model
tests_test_tokfiles_SOURCES = tests/test_tokfiles.c
tests_test_tokfiles_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_tokfiles_LDADD = $(TEST_LIBS)

# One target, two corpora: the program's name says which.
tests_fuzz_fuzz_tokenizer_json_SOURCES = tests/fuzz/fuzz_tokenizer_model.c tests/fuzz/replay.c
tests_fuzz_fuzz_tokenizer_json_LDADD = $(NANO_LAYERS) $(NANO_LIBS)
tests_fuzz_fuzz_tokenizer_model_SOURCES = tests/fuzz/fuzz_tokenizer_model.c tests/fuzz/replay.c
tests_fuzz_fuzz_tokenizer_model_LDADD = $(NANO_LAYERS) $(NANO_LIBS)
