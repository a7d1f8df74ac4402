/* Norms of channels-last images, in few passes over an image that stays in the processor's cache: instance norm and batch norm, with
   the rectifier and the 2x2 average pooling that may follow them; and a frozen batch norm that tells the statistics of what it is
   given. Images are (N, H, W, C), with C a multiple of LANES.

   Sums are taken row by row and then over rows, so that rounding grows with the root of an image's side; they and their order
   depend on the image alone. */

#include "vectors.h"

typedef struct {
    long images, height, width, channels;
    int rectify, halve;
} job;

static job job_of(const long *shape, int rectify, int halve)
{
    job j = {shape[0], shape[1], shape[2], shape[3], rectify, halve};
    return j;
}

/* What numbers of channels must be multiples of. */
long norms_lanes(void) { return LANES; }

/* How much room instance norms need for each thread. */
long norms_room(long channels) { return 4 * channels; }

/* Vectors of channels whose sums are in registers together. */
#define TOGETHER 4

/* A function of `c` and the number of vectors from there, for all channels. */
#define FOR_CHANNELS(channels, call)                                                          \
    do {                                                                                      \
        long c = 0;                                                                           \
        for (; c + TOGETHER * LANES <= (channels); c += TOGETHER * LANES) call(c, TOGETHER);  \
        for (; c + 2 * LANES <= (channels); c += 2 * LANES) call(c, 2);                       \
        for (; c < (channels); c += LANES) call(c, 1);                                        \
    } while (0)

/* Mean and biased variance of `count` vectors of channels of one image. */
static inline __attribute__((always_inline)) void moments_of(const REAL *image, job j, REAL *mean, REAL *variance, int count)
{
    REAL pixels = (REAL)(j.height * j.width);
    vector middle[TOGETHER], sum[TOGETHER], row[TOGETHER];
    for (int squares = 0; squares < 2; squares++) {
        for (int k = 0; k < count; k++) sum[k] = (vector){0};
        const REAL *at = image;
        for (long y = 0; y < j.height; y++) {
            for (int k = 0; k < count; k++) row[k] = (vector){0};
            for (long x = 0; x < j.width; x++, at += j.channels)
                for (int k = 0; k < count; k++) {
                    vector off = squares ? load(at + k * LANES) - middle[k] : load(at + k * LANES);
                    row[k] += squares ? off * off : off;
                }
            for (int k = 0; k < count; k++) sum[k] += row[k];
        }
        for (int k = 0; k < count; k++) {
            if (!squares) middle[k] = sum[k] / pixels;
            store((squares ? variance : mean) + k * LANES, sum[k] / pixels);
        }
    }
}

/* Mean and biased variance of each channel of one image. */
static void moments(const REAL *image, job j, REAL *mean, REAL *variance)
{
#define MOMENTS(c, count) moments_of(image + c, j, mean + c, variance + c, count)
    FOR_CHANNELS(j.channels, MOMENTS);
}

/* `value` where `deciding` is above 0 or no number, and 0 elsewhere. */
static inline vector where_above(vector deciding, vector value)
{
    __typeof__(deciding > 0) kept = ~(deciding <= 0);
    return (vector)(kept & (__typeof__(kept))value);
}

static inline vector rectified(vector value, int rectify) { return rectify ? where_above(value, value) : value; }

/* slope * x + offset of one image, rectified and halved. */
static void affine(const REAL *image, job j, const REAL *slope, const REAL *offset, REAL *to)
{
    if (!j.halve) {
        for (long p = 0; p < j.height * j.width * j.channels; p += j.channels)
            for (long c = 0; c < j.channels; c += LANES)
                store(to + p + c, rectified(load(image + p + c) * load(slope + c) + load(offset + c), j.rectify));
        return;
    }
    for (long y = 0; y < j.height; y += 2)
        for (long x = 0; x < j.width; x += 2, to += j.channels) {
            const REAL *above = image + (y * j.width + x) * j.channels, *below = above + j.width * j.channels;
            for (long c = 0; c < j.channels; c += LANES) {
                vector a = load(slope + c), b = load(offset + c);
                vector upper = rectified(load(above + c) * a + b, j.rectify) + rectified(load(above + j.channels + c) * a + b, j.rectify);
                vector lower = rectified(load(below + c) * a + b, j.rectify) + rectified(load(below + j.channels + c) * a + b, j.rectify);
                store(to + c, (REAL)0.25 * (upper + lower));
            }
        }
}

/* Numbers that `affine` gives of one image. */
static long affine_size(job j) { return j.height * j.width * j.channels / (j.halve ? 4 : 1); }

/* The gradient that arrives at one normalised value, before its affine map, where it is let through. */
static inline vector arriving(const REAL *image, const REAL *gradient, job j, long y, long x, long c, vector slope, vector offset)
{
    vector g = j.halve ? (REAL)0.25 * load(gradient + ((y / 2) * (j.width / 2) + x / 2) * j.channels + c)
                       : load(gradient + (y * j.width + x) * j.channels + c);
    if (!j.rectify) return g;
    vector out = load(image + (y * j.width + x) * j.channels + c) * slope + offset;
    return where_above(out, g);
}

/* What arrives at `count` vectors of channels from `c` of one image, summed, and its part along the image less its mean. */
static inline __attribute__((always_inline)) void arriving_sums_of(const REAL *image, const REAL *gradient, job j, long c, const REAL *mean,
                                                                   const REAL *slope, const REAL *offset, REAL *whole, REAL *along, int count)
{
    vector middle[TOGETHER], by[TOGETHER], from[TOGETHER], sums[2][TOGETHER], rows[2][TOGETHER];
    for (int k = 0; k < count; k++) {
        middle[k] = load(mean + c + k * LANES), by[k] = load(slope + c + k * LANES), from[k] = load(offset + c + k * LANES);
        sums[0][k] = sums[1][k] = (vector){0};
    }
    for (long y = 0; y < j.height; y++) {
        for (int k = 0; k < count; k++) rows[0][k] = rows[1][k] = (vector){0};
        for (long x = 0; x < j.width; x++)
            for (int k = 0; k < count; k++) {
                long channel = c + k * LANES;
                vector g = arriving(image, gradient, j, y, x, channel, by[k], from[k]);
                rows[0][k] += g;
                rows[1][k] += g * (load(image + (y * j.width + x) * j.channels + channel) - middle[k]);
            }
        for (int k = 0; k < count; k++) sums[0][k] += rows[0][k], sums[1][k] += rows[1][k];
    }
    for (int k = 0; k < count; k++) store(whole + c + k * LANES, sums[0][k]), store(along + c + k * LANES, sums[1][k]);
}

/* What arrives at one image, summed (`whole`), and its part along the image less its `mean` (`along`). */
static void arriving_sums(const REAL *image, const REAL *gradient, job j, const REAL *mean, const REAL *slope, const REAL *offset,
                          REAL *whole, REAL *along)
{
#define ARRIVING(c, count) arriving_sums_of(image, gradient, j, c, mean, slope, offset, whole, along, count)
    FOR_CHANNELS(j.channels, ARRIVING);
}

/* slope * g - level - (x - mean) * along of one image, where g arrives. */
static void back(const REAL *image, const REAL *gradient, job j, const REAL *mean, const REAL *slope, const REAL *offset,
                 const REAL *level, const REAL *along, REAL *to)
{
    for (long y = 0; y < j.height; y++)
        for (long x = 0; x < j.width; x++)
            for (long c = 0; c < j.channels; c += LANES) {
                long place = (y * j.width + x) * j.channels + c;
                vector a = load(slope + c), g = arriving(image, gradient, j, y, x, c, a, load(offset + c));
                vector off = load(image + place) - load(mean + c);
                store(to + place, a * g - load(level + c) - off * load(along + c));
            }
}

/* Outputs, and `mean` and `scale` (N, C) for the way back. */
void instance_forward(const REAL *images, const REAL *weight, const REAL *bias, double eps, REAL *outputs, REAL *mean, REAL *scale,
                  const long *shape, int rectify, int halve, REAL *room, int threads)
{
    job j = job_of(shape, rectify, halve);
    long pixels = j.height * j.width * j.channels;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long n = 0; n < j.images; n++) {
        REAL *slope = room + omp_get_thread_num() * norms_room(j.channels), *offset = slope + j.channels;
        REAL *m = mean + n * j.channels, *s = scale + n * j.channels;
        moments(images + n * pixels, j, m, s);
        for (long c = 0; c < j.channels; c++) s[c] = 1 / __builtin_sqrt(s[c] + (REAL)eps);
        for (long c = 0; c < j.channels; c++) slope[c] = s[c] * weight[c], offset[c] = bias[c] - m[c] * slope[c];
        affine(images + n * pixels, j, slope, offset, outputs + n * affine_size(j));
    }
}

/* Gradients of the images, and of weight and bias for each image (N, C). */
void instance_backward(const REAL *images, const REAL *weight, const REAL *bias, const REAL *mean, const REAL *scale, const REAL *gradients,
                   REAL *to, REAL *of_weight, REAL *of_bias, const long *shape, int rectify, int halve, REAL *room, int threads)
{
    job j = job_of(shape, rectify, halve);
    long pixels = j.height * j.width * j.channels;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long n = 0; n < j.images; n++) {
        const REAL *image = images + n * pixels, *m = mean + n * j.channels, *s = scale + n * j.channels;
        const REAL *gradient = gradients + n * affine_size(j);
        REAL *mine = room + omp_get_thread_num() * norms_room(j.channels), *other = mine + j.channels;
        REAL *slope = other + j.channels, *offset = slope + j.channels;
        REAL *gw = of_weight + n * j.channels, *gb = of_bias + n * j.channels;
        for (long c = 0; c < j.channels; c++) slope[c] = s[c] * weight[c], offset[c] = bias[c] - m[c] * slope[c];
        arriving_sums(image, gradient, j, m, slope, offset, gb, gw);
        REAL count = (REAL)(j.height * j.width);
        for (long c = 0; c < j.channels; c++) {
            gw[c] *= s[c];
            mine[c] = slope[c] * gb[c] / count;          /* the mean of what arrives */
            other[c] = slope[c] * s[c] * gw[c] / count;  /* and its part along the image */
        }
        back(image, gradient, j, m, slope, offset, mine, other, to + n * pixels);
    }
}

/* Mean and biased variance of each image's channels (N, C). */
void batch_moments(const REAL *images, REAL *mean, REAL *variance, const long *shape, int threads)
{
    job j = job_of(shape, 0, 0);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long n = 0; n < j.images; n++)
        moments(images + n * j.height * j.width * j.channels, j, mean + n * j.channels, variance + n * j.channels);
}

/* Outputs slope * x + offset, rectified and halved. */
void batch_forward(const REAL *images, const REAL *slope, const REAL *offset, REAL *outputs, const long *shape, int rectify, int halve,
                   int threads)
{
    job j = job_of(shape, rectify, halve);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long n = 0; n < j.images; n++)
        affine(images + n * j.height * j.width * j.channels, j, slope, offset, outputs + n * affine_size(j));
}

/* What arrives at each image, summed (N, C), and its part along the image less the batch's mean (C). */
void batch_sums(const REAL *images, const REAL *gradients, const REAL *mean, const REAL *slope, const REAL *offset, REAL *whole,
                REAL *along, const long *shape, int rectify, int halve, int threads)
{
    job j = job_of(shape, rectify, halve);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long n = 0; n < j.images; n++)
        arriving_sums(images + n * j.height * j.width * j.channels, gradients + n * affine_size(j), j, mean, slope, offset,
                      whole + n * j.channels, along + n * j.channels);
}

/* Gradients of the images: slope * g - level - (x - mean) * along. */
void batch_backward(const REAL *images, const REAL *gradients, const REAL *mean, const REAL *slope, const REAL *offset,
                    const REAL *level, const REAL *along, REAL *to, const long *shape, int rectify, int halve, int threads)
{
    job j = job_of(shape, rectify, halve);
    long pixels = j.height * j.width * j.channels;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long n = 0; n < j.images; n++)
        back(images + n * pixels, gradients + n * affine_size(j), j, mean, slope, offset, level, along, to + n * pixels);
}

/* Mean and biased variance of a group of `count` images, for each channel, from those of each image. */
static void of_group(const REAL *means, const REAL *variances, long count, long channels, REAL *mean, REAL *variance)
{
    for (long c = 0; c < channels; c++) mean[c] = variance[c] = 0;
    for (long n = 0; n < count; n++)
        for (long c = 0; c < channels; c++) mean[c] += means[n * channels + c];
    for (long c = 0; c < channels; c++) mean[c] /= (REAL)count;
    for (long n = 0; n < count; n++)
        for (long c = 0; c < channels; c++) {
            REAL off = means[n * channels + c] - mean[c];
            variance[c] += variances[n * channels + c] + off * off;
        }
    for (long c = 0; c < channels; c++) variance[c] /= (REAL)count;
}

/* How much room frozen norms need for values that images have of their own. */
long frozen_room(long images, long channels) { return 2 * images * channels; }

/* slope * x + offset of one image, another one added, rectified. */
static void affine_and(const REAL *image, job j, const REAL *slope, const REAL *offset, const REAL *added, REAL *to)
{
    for (long p = 0; p < j.height * j.width * j.channels; p += j.channels)
        for (long c = 0; c < j.channels; c += LANES) {
            vector normed = load(image + p + c) * load(slope + c) + load(offset + c);
            store(to + p + c, rectified(normed + load(added + p + c), j.rectify));
        }
}

/* Images normed by the running moments, with `added` where it is not null, rectified; slope and offset (2, C) of that; and mean and
   biased variance (groups, C) of each of equal groups of images. */
void frozen_forward(const REAL *images, const REAL *weight, const REAL *bias, const REAL *running, const REAL *spread, double eps,
                    const REAL *added, REAL *outputs, REAL *slope, REAL *mean, REAL *variance, const long *shape, int rectify,
                    long groups, REAL *own, int threads)
{
    job j = job_of(shape, rectify, 0);
    long pixels = j.height * j.width * j.channels, together = j.images / groups;
    REAL *offset = slope + j.channels, *means = own, *variances = own + j.images * j.channels;
    for (long c = 0; c < j.channels; c++) {
        slope[c] = weight[c] / (REAL)__builtin_sqrt(spread[c] + (REAL)eps);
        offset[c] = bias[c] - running[c] * slope[c];
    }
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long n = 0; n < j.images; n++) {
        const REAL *image = images + n * pixels;
        moments(image, j, means + n * j.channels, variances + n * j.channels);
        if (added)
            affine_and(image, j, slope, offset, added + n * pixels, outputs + n * pixels);
        else
            affine(image, j, slope, offset, outputs + n * pixels);
    }
    for (long g = 0; g < groups; g++)
        of_group(means + g * together * j.channels, variances + g * together * j.channels, together, j.channels, mean + g * j.channels,
                 variance + g * j.channels);
}

/* Gradients of the images: slope times that of the outputs, and of their groups' moments, (g_mean + 2 g_variance (x - mean)) / n. Where
   something was added, `outputs` are what came of it and `passed` is its gradient. */
void frozen_backward(const REAL *images, const REAL *gradients, const REAL *slope, const REAL *mean, const REAL *of_mean,
                     const REAL *of_variance, const REAL *outputs, REAL *passed, REAL *to, const long *shape, int rectify, long groups,
                     REAL *own, int threads)
{
    job j = job_of(shape, rectify, 0);
    long pixels = j.height * j.width * j.channels, together = j.images / groups;
    const REAL *offset = slope + j.channels;
    REAL *along = own, *level = own + groups * j.channels, count = (REAL)(together * j.height * j.width);
    for (long c = 0; c < groups * j.channels; c++) {
        along[c] = 2 * of_variance[c] / count;
        level[c] = of_mean[c] / count - along[c] * mean[c];
    }
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long n = 0; n < j.images; n++) {
        const REAL *a = along + n / together * j.channels, *l = level + n / together * j.channels;
        for (long p = n * pixels; p < (n + 1) * pixels; p += j.channels)
            for (long c = 0; c < j.channels; c += LANES) {
                vector x = load(images + p + c), by = load(slope + c), g = load(gradients + p + c);
                if (j.rectify) g = where_above(outputs ? load(outputs + p + c) : x * by + load(offset + c), g);
                if (passed) store(passed + p + c, g);
                store(to + p + c, by * g + (load(a + c) * x + load(l + c)));
            }
    }
}
