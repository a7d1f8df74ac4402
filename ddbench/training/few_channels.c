/* Convolutions of images of few channels, such as a network's first: a kernel for many channels leaves most of a vector idle, so that
   here vectors hold the channels that are made. Images (N, H, W, C) and outputs (N, H', W', K) are channels-last, K a multiple of
   PANEL. A tap is one value of a kernel: its row, its column, its channel, in this order.

   Every sum is taken in an order that depends on the shapes alone. */

#include "vectors.h"

#define ROWS (VECTOR_BYTES == 64 ? 12 : 6) /* of a product at once: as many sums as there are registers for */
#define PANEL (2 * LANES)
#define BLOCKS 16 /* of images whose gradients of kernels are summed apart, however many threads there are */
#define MOST_TAPS 1024

typedef struct {
    long images, height, width, channels, out_height, out_width, made, down, across, stride_y, stride_x, pad_y, pad_x;
} job;

static job job_of(const long *s)
{
    job j = {s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8], s[9], s[10], s[11], s[12]};
    return j;
}

long few_panel(void) { return PANEL; }
long few_blocks(void) { return BLOCKS; }
long few_most_taps(void) { return MOST_TAPS; }

static long padded_row(job j) { return (j.width + 2 * j.pad_x) * j.channels; }

/* How much room for a padded image each thread needs. */
long few_room(const long *shape)
{
    job j = job_of(shape);
    return (j.height + 2 * j.pad_y) * padded_row(j);
}

/* One image with zeros around it. */
static void pad(const REAL *image, job j, REAL *to)
{
    long row = padded_row(j), side = j.pad_x * j.channels, inner = j.width * j.channels;
    memset(to, 0, (j.height + 2 * j.pad_y) * row * sizeof(REAL));
    for (long y = 0; y < j.height; y++) memcpy(to + (y + j.pad_y) * row + side, image + y * inner, inner * sizeof(REAL));
}

/* Where each tap lies from where a kernel begins. */
static long taps_of(job j, long *offsets)
{
    long tap = 0;
    for (long y = 0; y < j.down; y++)
        for (long x = 0; x < j.across; x++)
            for (long c = 0; c < j.channels; c++) offsets[tap++] = y * padded_row(j) + x * j.channels + c;
    return tap;
}

/* `rows` outputs side by side, `step` apart in the image. */
#define OUTPUTS(rows)                                                                          \
    do {                                                                                       \
        vector sums[rows][2], first = {0}, second = {0};                                       \
        if (bias) first = load(bias + k), second = load(bias + k + LANES);                     \
        for (int r = 0; r < rows; r++) sums[r][0] = first, sums[r][1] = second;                \
        for (long tap = 0; tap < taps; tap++) {                                                \
            first = load(kernels + tap * j.made + k), second = load(kernels + tap * j.made + k + LANES); \
            _Pragma("GCC unroll 12") for (int r = 0; r < rows; r++) {                          \
                REAL factor = from[r * step + offsets[tap]];                                   \
                sums[r][0] += factor * first;                                                  \
                sums[r][1] += factor * second;                                                 \
            }                                                                                  \
        }                                                                                      \
        for (int r = 0; r < rows; r++) {                                                       \
            store(to + r * j.made + k, sums[r][0]);                                            \
            store(to + r * j.made + k + LANES, sums[r][1]);                                    \
        }                                                                                      \
    } while (0)

/* Outputs of images and kernels (taps, K). */
void few_convolve(const REAL *images, const REAL *kernels, const REAL *bias, REAL *outputs, const long *shape, REAL *room, int threads)
{
    job j = job_of(shape);
    long offsets[MOST_TAPS], taps = taps_of(j, offsets), step = j.stride_x * j.channels;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long n = 0; n < j.images; n++) {
        REAL *image = room + omp_get_thread_num() * few_room(shape);
        pad(images + n * j.height * j.width * j.channels, j, image);
        for (long y = 0; y < j.out_height; y++) {
            const REAL *line = image + y * j.stride_y * padded_row(j);
            REAL *out = outputs + (n * j.out_height + y) * j.out_width * j.made;
            for (long k = 0; k < j.made; k += PANEL) {
                long x = 0;
                for (; x + ROWS <= j.out_width; x += ROWS) {
                    const REAL *from = line + x * step;
                    REAL *to = out + x * j.made;
                    OUTPUTS(ROWS);
                }
                for (; x < j.out_width; x++) {
                    const REAL *from = line + x * step;
                    REAL *to = out + x * j.made;
                    OUTPUTS(1);
                }
            }
        }
    }
}

/* The gradients of `rows` taps from one row of outputs, added. */
#define TAPS(rows)                                                                             \
    do {                                                                                       \
        vector sums[rows][2];                                                                  \
        for (int r = 0; r < rows; r++) {                                                       \
            sums[r][0] = load(to + (tap + r) * j.made + k);                                    \
            sums[r][1] = load(to + (tap + r) * j.made + k + LANES);                            \
        }                                                                                      \
        for (long x = 0; x < j.out_width; x++) {                                               \
            vector first = load(gradient + x * j.made + k), second = load(gradient + x * j.made + k + LANES); \
            _Pragma("GCC unroll 12") for (int r = 0; r < rows; r++) {                          \
                REAL factor = line[x * step + offsets[tap + r]];                               \
                sums[r][0] += factor * first;                                                  \
                sums[r][1] += factor * second;                                                 \
            }                                                                                  \
        }                                                                                      \
        for (int r = 0; r < rows; r++) {                                                       \
            store(to + (tap + r) * j.made + k, sums[r][0]);                                    \
            store(to + (tap + r) * j.made + k + LANES, sums[r][1]);                            \
        }                                                                                      \
    } while (0)

/* The gradient of kernels (BLOCKS, taps, K), block by block of images, to be summed over blocks. */
void few_kernel_gradient(const REAL *images, const REAL *gradients, REAL *sums_of_blocks, const long *shape, REAL *room, int threads)
{
    job j = job_of(shape);
    long offsets[MOST_TAPS], taps = taps_of(j, offsets), step = j.stride_x * j.channels;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (long block = 0; block < BLOCKS; block++) {
        REAL *image = room + omp_get_thread_num() * few_room(shape), *to = sums_of_blocks + block * taps * j.made;
        memset(to, 0, taps * j.made * sizeof(REAL));
        for (long n = j.images * block / BLOCKS; n < j.images * (block + 1) / BLOCKS; n++) {
            pad(images + n * j.height * j.width * j.channels, j, image);
            for (long y = 0; y < j.out_height; y++) {
                const REAL *line = image + y * j.stride_y * padded_row(j);
                const REAL *gradient = gradients + (n * j.out_height + y) * j.out_width * j.made;
                for (long k = 0; k < j.made; k += PANEL) {
                    long tap = 0;
                    for (; tap + ROWS <= taps; tap += ROWS) TAPS(ROWS);
                    for (; tap + ROWS / 2 <= taps; tap += ROWS / 2) TAPS(ROWS / 2);
                    for (; tap < taps; tap++) TAPS(1);
                }
            }
        }
    }
}

/* The gradients of a panel of taps, from `tap` on, of `rows` outputs side by side, added to the padded image at `back`. */
#define BACK(rows)                                                                             \
    do {                                                                                       \
        vector sums[rows][2] = {{{0}}};                                                        \
        REAL found[PANEL];                                                                     \
        for (long k = 0; k < j.made; k++) {                                                    \
            vector first = load(kernels + k * columns + tap), second = load(kernels + k * columns + tap + LANES); \
            _Pragma("GCC unroll 12") for (int r = 0; r < rows; r++) {                          \
                REAL factor = from[r * j.made + k];                                            \
                sums[r][0] += factor * first;                                                  \
                sums[r][1] += factor * second;                                                 \
            }                                                                                  \
        }                                                                                      \
        for (int r = 0; r < rows; r++) {                                                       \
            store(found, sums[r][0]);                                                          \
            store(found + LANES, sums[r][1]);                                                  \
            for (long t = 0; t < PANEL && tap + t < taps; t++) back[r * step + offsets[tap + t]] += found[t]; \
        }                                                                                      \
    } while (0)

/* The gradient of images from that of the outputs; kernels are (K, `columns`), of which the first are taps and the others 0. */
void few_image_gradient(const REAL *gradients, const REAL *kernels, REAL *to, const long *shape, long columns, REAL *room, int threads)
{
    job j = job_of(shape);
    long offsets[MOST_TAPS], taps = taps_of(j, offsets), step = j.stride_x * j.channels, row = padded_row(j);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long n = 0; n < j.images; n++) {
        REAL *image = room + omp_get_thread_num() * few_room(shape);
        memset(image, 0, few_room(shape) * sizeof(REAL));
        for (long y = 0; y < j.out_height; y++) {
            const REAL *gradient = gradients + (n * j.out_height + y) * j.out_width * j.made;
            for (long tap = 0; tap < taps; tap += PANEL) {
                long x = 0;
                for (; x + ROWS <= j.out_width; x += ROWS) {
                    const REAL *from = gradient + x * j.made;
                    REAL *back = image + y * j.stride_y * row + x * step;
                    BACK(ROWS);
                }
                for (; x < j.out_width; x++) {
                    const REAL *from = gradient + x * j.made;
                    REAL *back = image + y * j.stride_y * row + x * step;
                    BACK(1);
                }
            }
        }
        long inner = j.width * j.channels;
        for (long y = 0; y < j.height; y++)
            memcpy(to + (n * j.height + y) * inner, image + (y + j.pad_y) * row + j.pad_x * j.channels, inner * sizeof(REAL));
    }
}
