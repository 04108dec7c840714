PROGRAM_TEST = tests/program.c tests/program.h

check_PROGRAMS += tests/test_cli
tests_test_cli_SOURCES = tests/test_cli.c $(PROGRAM_TEST)
tests_test_cli_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_cli_LDADD = $(NANO_LIBS) $(CRITERION_LIBS)

check_PROGRAMS += tests/test_bench
tests_test_bench_SOURCES = tests/test_bench.c $(PROGRAM_TEST)
tests_test_bench_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_bench_LDADD = $(NANO_LIBS) $(CRITERION_LIBS)

AM_TESTS_ENVIRONMENT += CC='$(CC)'; CXX='$(CXX)'; MAKE='$(MAKE)'; NM='$(NM)'; \
  NANO_EXAMPLE_CFLAGS='$(NANO_LDFLAGS)'; export CC CXX MAKE NM NANO_EXAMPLE_CFLAGS;
dist_check_SCRIPTS += tests/check_install.sh tests/check_layers.sh tests/check_models_doc.sh tests/check_symbols.sh

check_PROGRAMS += tests/test_bad_input
tests_test_bad_input_SOURCES = tests/test_bad_input.c $(PROGRAM_TEST) $(GGUF_BUILDER)
tests_test_bad_input_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_bad_input_LDADD = $(TEST_LIBS)

check_PROGRAMS += tests/test_model
tests_test_model_SOURCES = tests/test_model.c $(PROGRAM_TEST) $(GGUF_BUILDER)
tests_test_model_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_model_LDADD = $(TEST_LIBS)

check_PROGRAMS += tests/test_stories
tests_test_stories_SOURCES = tests/test_stories.c $(PROGRAM_TEST)
tests_test_stories_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_stories_LDADD = $(NANO_LIBS) $(CRITERION_LIBS)

check_PROGRAMS += tests/test_tinymodel
tests_test_tinymodel_SOURCES = tests/test_tinymodel.c $(PROGRAM_TEST)
tests_test_tinymodel_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_tinymodel_LDADD = $(NANO_LIBS) $(CRITERION_LIBS)

check_PROGRAMS += tests/test_chat
tests_test_chat_SOURCES = tests/test_chat.c $(PROGRAM_TEST)
tests_test_chat_CPPFLAGS = $(AM_CPPFLAGS) -D_XOPEN_SOURCE=700
tests_test_chat_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_chat_LDADD = $(NANO_LIBS) $(CRITERION_LIBS)
