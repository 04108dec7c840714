librunner_la_SOURCES += \
  src/runner/mock/mock_runner.c src/runner/mock/mock_runner.h \
  src/runner/runner_registry.c
