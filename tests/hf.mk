# Model folders as Hugging Face's tools download them.
HF_WRITER = tests/hf_writer.c tests/hf_writer.h

check_PROGRAMS += tests/test_safetensors tests/test_hf_folder tests/fuzz/fuzz_safetensors
tests_test_safetensors_SOURCES = tests/test_safetensors.c
tests_test_safetensors_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_safetensors_LDADD = $(TEST_LIBS)
tests_test_hf_folder_SOURCES = tests/test_hf_folder.c $(HF_WRITER) $(RUNNER_TEST_SOURCES) \
  tests/grown_model.c tests/grown_model.h tests/grown_specs.c
tests_test_hf_folder_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_hf_folder_LDADD = $(TEST_LIBS)

tests_fuzz_fuzz_safetensors_SOURCES = tests/fuzz/fuzz_safetensors.c tests/fuzz/replay.c
tests_fuzz_fuzz_safetensors_LDADD = $(NANO_LAYERS) $(NANO_LIBS)
