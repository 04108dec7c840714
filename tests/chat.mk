check_PROGRAMS += tests/test_jinja tests/test_chat_template tests/test_chat_data tests/fuzz/fuzz_chat
tests_test_jinja_SOURCES = tests/test_jinja.c
tests_test_jinja_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_jinja_LDADD = $(TEST_LIBS)
tests_test_chat_template_SOURCES = tests/test_chat_template.c $(PROGRAM_TEST)
tests_test_chat_template_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_chat_template_LDADD = $(TEST_LIBS)
tests_test_chat_data_SOURCES = tests/test_chat_data.c
tests_test_chat_data_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_chat_data_LDADD = $(TEST_LIBS)

tests_fuzz_fuzz_chat_SOURCES = tests/fuzz/fuzz_chat.c tests/fuzz/replay.c
tests_fuzz_fuzz_chat_LDADD = $(NANO_LAYERS) $(NANO_LIBS)
