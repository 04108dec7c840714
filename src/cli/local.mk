bin_PROGRAMS += nanovllm
nanovllm_SOURCES = \
  src/cli/bench.c src/cli/bench.h \
  src/cli/bench_compare.c src/cli/bench_compare.h \
  src/cli/bench_offline.c \
  src/cli/bench_model.c \
  src/cli/bench_report.c src/cli/bench_report.h \
  src/cli/bench_serving.c src/cli/bench_serving.h \
  src/cli/chat.h \
  src/cli/chat_edit.h \
  src/cli/chat_answer.c \
  src/cli/chat_commands.c \
  src/cli/chat_history.c \
  src/cli/chat_line.c src/cli/chat_line.h \
  src/cli/chat_message.c src/cli/chat_message.h \
  src/cli/chat_screen.c \
  src/cli/chat_settings.c \
  src/cli/cli_engine.c src/cli/cli_engine.h \
  src/cli/cli_json.c src/cli/cli_json.h \
  src/cli/cli_options.c src/cli/cli_options.h \
  src/cli/cli_output.c src/cli/cli_output.h \
  src/cli/cli_prompts.c src/cli/cli_prompts.h \
  src/cli/cli_template.c src/cli/cli_template.h \
  src/cli/cli_values.c \
  src/cli/cmd_apply_template.c \
  src/cli/cmd_bench.c \
  src/cli/cmd_chat.c \
  src/cli/cmd_demo.c \
  src/cli/cmd_embed.c \
  src/cli/cmd_imatrix.c \
  src/cli/cmd_info.c \
  src/cli/cmd_perplexity.c \
  src/cli/cmd_quantize.c \
  src/cli/cmd_run.c \
  src/cli/cmd_tokenize.c \
  src/cli/commands.h \
  src/cli/demo.h \
  src/cli/demo_table.c \
  src/cli/machine.c src/cli/machine.h \
  src/cli/main.c \
  src/cli/run_output.c src/cli/run_output.h
if HAVE_LIBEDIT
nanovllm_SOURCES += src/cli/chat_edit.c
endif
if HAVE_SERVER
nanovllm_SOURCES += src/cli/cmd_serve.c
SERVER_LIBS = libserver.la
endif
nanovllm_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS) $(LIBEDIT_CFLAGS)
# The library first: what both have must be the library's own (see src/base/set_log.c).
nanovllm_LDADD = $(SERVER_LIBS) libnanovllm.la libbase.la $(JANSSON_LIBS) $(LIBEDIT_LIBS) -lm
