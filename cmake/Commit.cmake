# cmake -DSOURCE=... -DHEADER=... -P Commit.cmake: writes the commit of SOURCE to HEADER, if it is another one than stands there.
execute_process(COMMAND git -C ${SOURCE} describe --always --exclude=* --abbrev=12 --dirty OUTPUT_VARIABLE commit ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
file(CONFIGURE OUTPUT ${HEADER} CONTENT "#define ASSAY_COMMIT \"${commit}\"\n")
