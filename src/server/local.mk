if HAVE_SERVER
noinst_LTLIBRARIES += libserver.la
libserver_la_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS) $(MICROHTTPD_CFLAGS)
libserver_la_LIBADD = $(JANSSON_LIBS) $(MICROHTTPD_LIBS)
libserver_la_SOURCES = \
  src/server/access_log.c src/server/access_log.h \
  src/server/api.c src/server/api.h \
  src/server/api_answer.c src/server/api_answer.h \
  src/server/api_call.h \
  src/server/api_chat.c \
  src/server/api_counts.c \
  src/server/api_embed.c \
  src/server/api_fields.c src/server/api_fields.h \
  src/server/api_logprobs.c \
  src/server/api_params.c src/server/api_params.h \
  src/server/api_stream.c \
  src/server/api_text.c \
  src/server/api_tokenize.c \
  src/server/api_whole.c \
  src/server/http.h \
  src/server/http_connections.c \
  src/server/http_exchange.c \
  src/server/http_listen.c src/server/http_listen.h \
  src/server/http_server.c src/server/http_server.h \
  src/server/http_state.h \
  src/server/json_out.c src/server/json_out.h \
  src/server/metrics.c src/server/metrics.h \
  src/server/notify.c src/server/notify.h \
  src/server/page.h \
  src/server/server.c src/server/server.h
nodist_libserver_la_SOURCES = src/server/page_html.c
CLEANFILES += src/server/page_html.c
src/server/page_html.c: src/server/web/index.html src/server/web/embed.sh
	$(AM_V_GEN)$(MKDIR_P) src/server && \
	  sh $(srcdir)/src/server/web/embed.sh $(srcdir)/src/server/web/index.html >$@.new && mv $@.new $@
endif
EXTRA_DIST += src/server/web/index.html src/server/web/embed.sh
