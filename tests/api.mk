API_HARNESS = tests/api_harness.c tests/api_harness.h
SERVER_TEST_LIBS = libserver.la $(NANO_LAYERS) $(NANO_LIBS)

check_PROGRAMS += tests/test_api
tests_test_api_SOURCES = \
  tests/api_fixture.h \
  tests/test_api.c \
  tests/test_api_embed.c \
  tests/test_api_fields.c \
  tests/test_api_lora.c $(LORA_TEST_SOURCES) \
  tests/require.h $(API_HARNESS)
tests_test_api_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS) $(JANSSON_CFLAGS)
tests_test_api_LDADD = $(SERVER_TEST_LIBS) $(CRITERION_LIBS)

check_PROGRAMS += tests/check_api_threads
tests_check_api_threads_SOURCES = tests/check_api_threads.c tests/require.h $(API_HARNESS)
tests_check_api_threads_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_check_api_threads_LDADD = $(SERVER_TEST_LIBS)
