noinst_PROGRAMS += bench/bench_serve
bench_bench_serve_SOURCES = \
  bench/bench_serve.c \
  bench/load_answer.c bench/load_answer.h \
  bench/load_client.c bench/load_client.h \
  bench/load_request.c bench/load_request.h \
  bench/load_socket.c bench/load_socket.h \
  bench/load_stats.c bench/load_stats.h \
  bench/load_strangers.c bench/load_strangers.h
bench_bench_serve_LDADD = libbase.la -lm

# Clients for the scripts below, which are the tests.
noinst_PROGRAMS += tests/fuzz_http
tests_fuzz_http_SOURCES = \
  tests/fuzz_http.c \
  tests/fuzz_bodies.c tests/fuzz_bodies.h \
  tests/fuzz_frames.c tests/fuzz_frames.h \
  tests/http_client.c tests/http_client.h tests/require.h
tests_fuzz_http_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS)
tests_fuzz_http_LDADD = libbase.la $(JANSSON_LIBS)
dist_check_SCRIPTS += \
  tests/check_openai.sh tests/check_page.sh tests/check_serve_life.sh tests/check_server.sh \
  tests/check_server_onnx.sh
EXTRA_DIST += \
  tests/serve_lib.sh \
  tests/openai/client.test.mjs tests/openai/package.json \
  tests/web/mock_server.mjs \
  tests/web/package.json \
  tests/web/page.test.mjs \
  tests/web/policy.mjs \
  tests/web/screenshots.mjs

clean-local: clean-npm
clean-npm:
	rm -rf tests/openai-client tests/openai-client-onnx tests/page-client
noinst_PROGRAMS += bench/bench_engine
bench_bench_engine_SOURCES = bench/bench_engine.c
bench_bench_engine_LDADD = libnanovllm.la libbase.la
