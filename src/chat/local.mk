noinst_LTLIBRARIES += libchat.la
libchat_la_SOURCES = \
  src/chat/ast.h \
  src/chat/chat_normalize.c \
  src/chat/chat_open.c \
  src/chat/chat_parser.c \
  src/chat/chat_render.c \
  src/chat/chat_template.c src/chat/chat_template.h \
  src/chat/eval.h \
  src/chat/jinja.c src/chat/jinja.h \
  src/chat/jinja_access.c \
  src/chat/jinja_big.c \
  src/chat/jinja_call.c \
  src/chat/jinja_check.c \
  src/chat/jinja_compare.c \
  src/chat/jinja_dict.c \
  src/chat/jinja_eval.c \
  src/chat/jinja_exec.c \
  src/chat/jinja_expression.c \
  src/chat/jinja_format.c \
  src/chat/jinja_globals.c \
  src/chat/jinja_json.c \
  src/chat/jinja_lexer.c \
  src/chat/jinja_list_filters.c \
  src/chat/jinja_methods.c \
  src/chat/jinja_number_filters.c \
  src/chat/jinja_ops.c \
  src/chat/jinja_parser.c \
  src/chat/jinja_print.c \
  src/chat/jinja_select.c \
  src/chat/jinja_str.c \
  src/chat/jinja_str_methods.c \
  src/chat/jinja_str_more.c \
  src/chat/jinja_strftime.c \
  src/chat/jinja_text_filters.c \
  src/chat/jinja_value.c \
  src/chat/unicode.c src/chat/unicode.h src/chat/unicode_tables.h
