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
