# The built-in model; how it was made stands in data/README.md.
dist_pkgdata_DATA = data/tinymodel.gguf
EXTRA_DIST += data/README.md data/tinymodel.golden.json
