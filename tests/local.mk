# A module's tests are in tests/test_MODULE.c and built as the program of that name.
TESTS = $(check_PROGRAMS) $(dist_check_SCRIPTS)
# The verbosity makes Criterion name what it skips.
AM_TESTS_ENVIRONMENT = CRITERION_VERBOSITY_LEVEL=1; export CRITERION_VERBOSITY_LEVEL; \
  NANOVLLM_DATA_DIR='$(abs_top_srcdir)/data'; export NANOVLLM_DATA_DIR; \
  srcdir='$(srcdir)'; export srcdir; \
  NANOVLLM_PROGRAM='$(abs_top_builddir)/nanovllm$(EXEEXT)'; export NANOVLLM_PROGRAM;
EXTRA_DIST += tests/plain
TEST_LIBS = $(NANO_LAYERS) $(NANO_LIBS) $(CRITERION_LIBS)

if HAVE_CRITERION
# First, because some of its tests take longest: else one processor would wait for them in the end.
include tests/cuda.mk
include tests/base.mk
include tests/simd.mk
include tests/format.mk
include tests/tokenizer.mk
include tests/tokfiles.mk
include tests/models.mk
include tests/runner.mk
include tests/engine.mk
include tests/hf.mk
include tests/cli.mk
include tests/imatrix.mk
include tests/chat.mk
include tests/quantize.mk
include tests/lora.mk
include tests/onnx.mk
if HAVE_SERVER
include tests/api.mk
include tests/serve.mk
endif
endif
