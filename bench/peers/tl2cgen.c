/* Times the C that tl2cgen generates from our trees, called from C: "score NAME BATCH CALLS" a line, CPU ns back. */
#include "header.h"
#include <time.h>

enum { FEATURES = 16 };

static long long processor_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void lead(union Entry *rows, long batch, float *paths) {
    for (long at = 0; at < batch; at++) {
        paths[at] = 0;
        predict(rows + at * FEATURES, 1, paths + at);
    }
}

int main(int count, char **args) {
    FILE *file = count == 3 ? fopen(args[1], "rb") : NULL;
    if (!file) {
        fprintf(stderr, "give ROWS.f32 PATHS.f32\n");
        return 2;
    }
    fseek(file, 0, SEEK_END);
    long all = ftell(file) / (long)(FEATURES * sizeof(float));
    rewind(file);
    union Entry *rows = malloc(all * FEATURES * sizeof *rows);
    float *paths = malloc(all * sizeof *paths);
    if (!rows || !paths || fread(rows, FEATURES * sizeof *rows, all, file) != (size_t)all) return 2;
    lead(rows, all, paths);
    FILE *out = fopen(args[2], "wb");
    if (!out || fwrite(paths, sizeof *paths, all, out) != (size_t)all || fclose(out)) return 2;
    puts("ready tl2cgen-c");
    fflush(stdout);
    long batch, calls;
    while (scanf(" score %*s %ld %ld", &batch, &calls) == 2) {
        long long start = processor_ns();
        for (long call = 0; call < calls; call++) lead(rows + call * batch % (all - batch + 1) * FEATURES, batch, paths);
        printf("%lld\n", processor_ns() - start);
        fflush(stdout);
    }
    return 0;
}
