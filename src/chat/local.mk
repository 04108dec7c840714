noinst_LTLIBRARIES += libchat.la
libchat_la_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS)
libchat_la_SOURCES = \
  src/chat/chat_template.c
