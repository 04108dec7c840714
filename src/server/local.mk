if HAVE_SERVER
noinst_LTLIBRARIES += libserver.la
libserver_la_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS) $(MICROHTTPD_CFLAGS)
libserver_la_LIBADD = $(JANSSON_LIBS) $(MICROHTTPD_LIBS)
libserver_la_SOURCES = \
  src/server/api.c src/server/api.h \
  src/server/api_answer.c src/server/api_answer.h \
  src/server/api_call.h \
  src/server/api_chat.c \
  src/server/api_counts.c \
  src/server/api_fields.c src/server/api_fields.h \
  src/server/api_logprobs.c \
  src/server/api_params.c src/server/api_params.h \
  src/server/api_stream.c \
  src/server/api_text.c \
  src/server/api_tokenize.c \
  src/server/api_whole.c \
  src/server/http.h \
  src/server/json_out.c src/server/json_out.h \
  src/server/metrics.h
endif
