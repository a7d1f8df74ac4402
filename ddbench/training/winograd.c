/* Convolutions with 3x3 kernels, stride 1 and padding 1, by Winograd's minimal filtering F(4x4, 3x3): a tile of 4x4 outputs is
   computed from 6x6 inputs by 36 multiplications for each pair of channels, where the sum as written takes 144.

   A polynomial product of six terms is found from its values at six points: 0, P, -P, Q, -Q and infinity. Images are taken to
   those values (BT), kernels too (G), the values are multiplied and summed over channels (36 matrix products), and the sums are
   taken back (AT). With P = 5/8 and Q = 3/2 all constants but G's are exact, and the rounding is half of that with 1 and 2.
   Lavin & Gray, 2016 (arXiv:1509.09308); points as in Barabasz et al., 2020 (arXiv:1803.10986).

   Images and outputs are channels-last: (N, H, W, C), with C a multiple of PANEL. Values at one point lie together, as a block
   (tiles, channels). Every sum is taken in an order that depends on the shapes alone, never on the number of threads.

   With HALF, values at the points are rounded to bf16, and all else, their sums among it, is in float. Two neighbours of a sum then
   share a word: channels in a convolution, tiles in the gradient of kernels. Without, a word is a value. */

#include "vectors.h"

#ifdef HALF
#define PAIR 2 /* values in a word */
_Static_assert(sizeof(REAL) == 4, "a word of two bf16 is a float");
#if defined(__AVX512BF16__) && VECTOR_BYTES == 64
#define MULTIPLIES_HALVES /* the processor does */
#endif
#else
#define PAIR 1
#endif
#define WORDS(values) (((values) + PAIR - 1) / PAIR)

#define ROWS (VECTOR_BYTES == 64 ? 12 : 6) /* of a product at once: as many sums as there are registers for */
#define PANEL (2 * LANES)
#define POINTS 36
#define APART (64 / (long)sizeof(REAL)) /* blocks are a cache line further apart, or all of a tile's values share one set */

static const REAL P = 0.625, P2 = 0.390625, P3 = 0.244140625, Q = 1.5, Q2 = 2.25, Q3 = 3.375;
static const REAL PQ = 0.390625 * 2.25, SUM = 0.390625 + 2.25;

#ifdef HALF
typedef unsigned bits __attribute__((vector_size(VECTOR_BYTES)));
typedef unsigned short shorts __attribute__((vector_size(VECTOR_BYTES / 2)));
typedef unsigned short loose_shorts __attribute__((vector_size(VECTOR_BYTES / 2), aligned(2), may_alias));

/* The nearest bf16, of two as near the even one. */
static inline shorts halves(vector from)
{
#ifdef MULTIPLIES_HALVES
    return (shorts)_mm512_cvtneps_pbh((__m512)from);
#else
    bits whole = (bits)from;
    return __builtin_convertvector((whole + 0x7fff + (whole >> 16 & 1)) >> 16, shorts);
#endif
}

/* Values of neighbouring channels, beside each other. */
static inline void keep(REAL *to, vector values) { *(loose_shorts *)to = halves(values); }

/* Values of the same channels of two neighbours. */
static inline void join(REAL *to, vector first, vector second)
{
    bits words = __builtin_convertvector(halves(first), bits) | __builtin_convertvector(halves(second), bits) << 16;
    store(to, (vector)words);
}

static inline vector onto(vector sum, REAL word, vector words)
{
    vector factor = word - (vector){0};
#ifdef MULTIPLIES_HALVES
    return (vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)factor, (__m512bh)words);
#else
    bits one = (bits)factor, other = (bits)words;
    sum += (vector)(one << 16) * (vector)(other << 16);
    return sum + (vector)(one & 0xffff0000) * (vector)(other & 0xffff0000);
#endif
}
#else
static inline void keep(REAL *to, vector values) { store(to, values); }
static inline void join(REAL *to, vector first, vector second) { (void)second, store(to, first); }
static inline vector onto(vector sum, REAL word, vector words) { return sum + word * words; }
#endif

/* BT: six values of an image to those at the points. */
static inline void of_image(const vector a[6], vector to[6])
{
    vector even_p = a[4] - Q2 * a[2], odd_p = P * (a[3] - Q2 * a[1]);
    vector even_q = a[4] - P2 * a[2], odd_q = Q * (a[3] - P2 * a[1]);
    to[0] = PQ * a[0] - SUM * a[2] + a[4];
    to[1] = even_p + odd_p;
    to[2] = even_p - odd_p;
    to[3] = even_q + odd_q;
    to[4] = even_q - odd_q;
    to[5] = PQ * a[1] - SUM * a[3] + a[5];
}

/* AT: sums at the points to four outputs. */
static inline void to_output(const vector a[6], vector to[4])
{
    vector even_p = a[1] + a[2], odd_p = a[1] - a[2], even_q = a[3] + a[4], odd_q = a[3] - a[4];
    to[0] = a[0] + even_p + even_q;
    to[1] = P * odd_p + Q * odd_q;
    to[2] = P2 * even_p + Q2 * even_q;
    to[3] = P3 * odd_p + Q3 * odd_q + a[5];
}

/* A: the gradient of four outputs to that of the sums. */
static inline void of_output(const vector a[4], vector to[6])
{
    vector even_p = a[0] + P2 * a[2], odd_p = P * a[1] + P3 * a[3];
    vector even_q = a[0] + Q2 * a[2], odd_q = Q * a[1] + Q3 * a[3];
    to[0] = a[0];
    to[1] = even_p + odd_p;
    to[2] = even_p - odd_p;
    to[3] = even_q + odd_q;
    to[4] = even_q - odd_q;
    to[5] = a[3];
}

/* G: three values of a kernel to those at the points. */
static inline void of_kernel(const vector a[3], vector to[6])
{
    const REAL by_p = 1 / (2 * P2 * (P2 - Q2)), by_q = 1 / (2 * Q2 * (Q2 - P2));
    vector even_p = by_p * (a[0] + P2 * a[2]), odd_p = (by_p * P) * a[1];
    vector even_q = by_q * (a[0] + Q2 * a[2]), odd_q = (by_q * Q) * a[1];
    to[0] = (1 / PQ) * a[0];
    to[1] = even_p + odd_p;
    to[2] = even_p - odd_p;
    to[3] = even_q + odd_q;
    to[4] = even_q - odd_q;
    to[5] = a[2];
}

/* G transposed: the gradient of the values at the points to that of the kernel's three. */
static inline void to_kernel(const vector a[6], vector to[3])
{
    const REAL by_p = 1 / (2 * P2 * (P2 - Q2)), by_q = 1 / (2 * Q2 * (Q2 - P2));
    vector even_p = by_p * (a[1] + a[2]), odd_p = by_p * (a[1] - a[2]);
    vector even_q = by_q * (a[3] + a[4]), odd_q = by_q * (a[3] - a[4]);
    to[0] = (1 / PQ) * a[0] + even_p + even_q;
    to[1] = P * odd_p + Q * odd_q;
    to[2] = P2 * even_p + Q2 * even_q + a[5];
}

typedef struct {
    long images, height, width, down, across; /* the last two: tiles of an image */
} grid;

static grid grid_of(const long *shape)
{
    grid g = {shape[0], shape[1], shape[2], (shape[1] + 3) / 4, (shape[2] + 3) / 4};
    return g;
}

/* Where tile `tile` begins: its image, and the row and column of its first output. */
static inline void place_of(grid g, long tile, long *image, long *row, long *column)
{
    *image = tile / (g.down * g.across);
    *row = 4 * (tile / g.across % g.down);
    *column = 4 * (tile % g.across);
}

/* One image tile to its 36 values, of LANES channels from `c`. */
static inline void image_values(const REAL *images, grid g, long channels, long tile, long c, vector values[6][6])
{
    long image, row, column;
    place_of(g, tile, &image, &row, &column);
    const REAL *from = images + ((image * g.height + row - 1) * g.width + column - 1) * channels + c;
    int inner = row > 0 && column > 0 && row + 5 <= g.height && column + 5 <= g.width;
    vector rows[6][6], line[6], found[6];
    for (int x = 0; x < 6; x++) {
        for (int y = 0; y < 6; y++) {
            long there = row + y - 1, across = column + x - 1;
            int seen = inner || (there >= 0 && there < g.height && across >= 0 && across < g.width);
            line[y] = seen ? load(from + (y * g.width + x) * channels) : (vector){0};
        }
        of_image(line, found);
        for (int y = 0; y < 6; y++) rows[y][x] = found[y];
    }
    for (int y = 0; y < 6; y++) of_image(rows[y], values[y]);
}

/* The gradient of one output tile to that of its 36 sums. */
static inline void gradient_values(const REAL *gradients, grid g, long channels, long tile, long c, vector values[6][6])
{
    long image, row, column;
    place_of(g, tile, &image, &row, &column);
    const REAL *from = gradients + ((image * g.height + row) * g.width + column) * channels + c;
    vector rows[6][4], line[4], found[6];
    for (int x = 0; x < 4; x++) {
        for (int y = 0; y < 4; y++) {
            int seen = row + y < g.height && column + x < g.width;
            line[y] = seen ? load(from + (y * g.width + x) * channels) : (vector){0};
        }
        of_output(line, found);
        for (int y = 0; y < 6; y++) rows[y][x] = found[y];
    }
    for (int y = 0; y < 6; y++) of_output(rows[y], values[y]);
}

/* A tile of a sum over channels; blocks lie `apart` from each other. */
static void take_tile(const REAL *images, grid g, long channels, long tile, REAL *to, long apart)
{
    for (long c = 0; c < channels; c += LANES) {
        vector values[6][6];
        image_values(images, g, channels, tile, c, values);
        for (int point = 0; point < POINTS; point++) keep(to + point * apart + c / PAIR, values[point / 6][point % 6]);
    }
}

/* The tiles of one word of a sum over tiles, of images or of gradients; after tile `last` there are zeros. */
static void take_word(const REAL *from, grid g, long channels, long tile, long last, int gradients, REAL *to, long apart)
{
    for (long c = 0; c < channels; c += LANES) {
        vector values[PAIR][6][6] = {{{{0}}}};
        for (int part = 0; part < PAIR && tile + part < last; part++)
            if (gradients)
                gradient_values(from, g, channels, tile + part, c, values[part]);
            else
                image_values(from, g, channels, tile + part, c, values[part]);
        for (int point = 0; point < POINTS; point++)
            join(to + point * apart + c, values[0][point / 6][point % 6], values[PAIR - 1][point / 6][point % 6]);
    }
}

/* The 36 sums of one tile to its outputs, and the bias added to each where there is one. */
static void give_output(const REAL *from, long apart, const REAL *bias, grid g, long channels, long tile, REAL *outputs)
{
    long image, row, column;
    place_of(g, tile, &image, &row, &column);
    REAL *to = outputs + ((image * g.height + row) * g.width + column) * channels;
    for (long c = 0; c < channels; c += LANES) {
        vector rows[4][6], line[6], values[4];
        for (int x = 0; x < 6; x++) {
            for (int y = 0; y < 6; y++) line[y] = load(from + (6 * y + x) * apart + c);
            to_output(line, values);
            for (int y = 0; y < 4; y++) rows[y][x] = values[y];
        }
        vector added = bias ? load(bias + c) : (vector){0};
        for (int y = 0; y < 4 && row + y < g.height; y++) {
            to_output(rows[y], values);
            for (int x = 0; x < 4 && column + x < g.width; x++) store(to + (y * g.width + x) * channels + c, values[x] + added);
        }
    }
}

/* Lines of the cache that are asked of memory one by one while something else is multiplied: waited for, pixels of 64 channels take
   half as long as their multiplications. */
typedef struct {
    const char *next;
    long lines;
} ahead;

/* The pixels of all rows that `tiles` tiles from `start` are of, and of `below` rows more. */
static ahead ahead_of(const REAL *images, grid g, long channels, long start, long tiles, long below)
{
    long total = g.images * g.down * g.across, image, row, column;
    if (start >= total) return (ahead){(const char *)images, 0};
    place_of(g, start, &image, &row, &column);
    const REAL *from = images + (image * g.height + row) * g.width * channels;
    place_of(g, start + tiles < total ? start + tiles - 1 : total - 1, &image, &row, &column);
    long rows = row + 4 + below < g.height ? row + 4 + below : g.height;
    return (ahead){(const char *)from, (images + (image * g.height + rows) * g.width * channels - from) / APART};
}

/* Always inlined: gcc takes a function that does nothing else for one that does nothing. */
static inline __attribute__((always_inline)) void ask(ahead *a)
{
    long more = a->lines > 0;
    __builtin_prefetch(a->next, 0, 2);
    a->next += 64 * more, a->lines -= more;
}

/* ROWS or fewer rows of (rows, depth) times one panel (depth, PANEL), where `depth` counts words. */
#define MULTIPLY(rows)                                                                                 \
    do {                                                                                               \
        vector sums[rows][2];                                                                          \
        for (int r = 0; r < rows; r++) sums[r][0] = sums[r][1] = (vector){0};                          \
        for (long d = 0; d < depth; d++) {                                                             \
            if (asks) ask(&meanwhile);                                                                 \
            vector first = load(panel + d * PANEL), second = load(panel + d * PANEL + LANES);          \
            _Pragma("GCC unroll 12") for (int r = 0; r < rows; r++) {                                  \
                REAL factor = left[r * along + d * onward];                                            \
                sums[r][0] = onto(sums[r][0], factor, first);                                          \
                sums[r][1] = onto(sums[r][1], factor, second);                                         \
            }                                                                                          \
        }                                                                                              \
        for (int r = 0; r < rows; r++) {                                                               \
            REAL *out = to + r * width;                                                                \
            store(out, add ? load(out) + sums[r][0] : sums[r][0]);                                     \
            store(out + LANES, add ? load(out + LANES) + sums[r][1] : sums[r][1]);                     \
        }                                                                                              \
    } while (0)

static inline __attribute__((always_inline)) ahead product_of(const REAL *left, long along, long onward, long rows, long depth,
                                                              const REAL *panel, REAL *to, long width, int add, ahead meanwhile, int asks)
{
    long row = 0;
    for (; row + ROWS <= rows; row += ROWS, left += ROWS * along, to += ROWS * width) MULTIPLY(ROWS);
    for (; row + ROWS / 2 <= rows; row += ROWS / 2, left += ROWS / 2 * along, to += ROWS / 2 * width) MULTIPLY(ROWS / 2);
    for (; row < rows; row++, left += along, to += width) MULTIPLY(1);
    return meanwhile;
}

/* (rows, depth) times a panel (depth, PANEL), set or added to (rows, PANEL) of rows `width` wide. `left` has rows `along` apart and
   depth `onward` apart. */
static void product(const REAL *left, long along, long onward, long rows, long depth, const REAL *panel, REAL *to, long width, int add)
{
    product_of(left, along, onward, rows, depth, panel, to, width, add, (ahead){0, 0}, 0);
}

/* The same, set, of a `left` without gaps, while lines of the cache are asked for; what is left of them. */
static ahead product_asking(const REAL *left, long rows, long depth, const REAL *panel, REAL *to, long width, ahead meanwhile)
{
    return product_of(left, depth, 1, rows, depth, panel, to, width, 0, meanwhile, 1);
}

/* The kernels between summed channel `s` and LANES made ones from `made` to their values at the points. */
static inline void kernel_values(const REAL *kernels, const long *strides, long made, long s, int turned, vector values[6][6])
{
    vector rows[6][3], line[3] = {{0}}, found[6];
    for (int x = 0; x < 3; x++) {
        for (int y = 0; y < 3; y++) {
            int there = turned ? 2 - y : y, across = turned ? 2 - x : x;
            const REAL *from = kernels + s * strides[1] + there * strides[2] + across * strides[3];
            for (int lane = 0; lane < LANES; lane++) line[y][lane] = from[(made + lane) * strides[0]];
        }
        of_kernel(line, found);
        for (int y = 0; y < 6; y++) rows[y][x] = found[y];
    }
    for (int y = 0; y < 6; y++) of_kernel(rows[y], values[y]);
}

/* Kernels to their values at the points, in panels: POINTS x (of / PANEL) x (sums / PAIR) x PANEL words, where `sums` are the channels
   summed over and `of` those that are made. `strides` are of a kernel's made channel, summed channel, row and column; a turned kernel
   is read from its last value to its first. */
void winograd_kernels(const REAL *kernels, const long *strides, long of, long sums, int turned, REAL *to, int threads)
{
#pragma omp parallel for num_threads(threads) collapse(2) schedule(static)
    for (long panel = 0; panel < of / PANEL; panel++)
        for (long s = 0; s < sums; s += PAIR)
            for (long part = 0; part < PANEL; part += LANES) {
                vector values[PAIR][6][6];
                for (int one = 0; one < PAIR; one++) kernel_values(kernels, strides, panel * PANEL + part, s + one, turned, values[one]);
                for (int point = 0; point < POINTS; point++)
                    join(to + ((point * (of / PANEL) + panel) * (sums / PAIR) + s / PAIR) * PANEL + part,
                         values[0][point / 6][point % 6], values[PAIR - 1][point / 6][point % 6]);
            }
}

/* What numbers of channels must be multiples of. */
long winograd_panel(void) { return PANEL; }

/* How much room for values `winograd_convolve` and `winograd_kernel_gradient` need, for `tiles` at a time. */
long winograd_room(long tiles, long first, long second)
{
    return POINTS * (WORDS(tiles) * (first + PAIR * second) + 2 * APART);
}

/* Outputs (N, H, W, of) of images (N, H, W, sums) and kernels as `winograd_kernels` gives them; `shape` is N, H, W. With `alone` each
   thread has a part of `at_once` tiles and room of its own and waits for no other until the end; without, all share every part, so
   that kernels which no cache holds are read once for it. */
void winograd_convolve(const REAL *images, const REAL *kernels, const REAL *bias, REAL *outputs, const long *shape, long sums, long of,
                       long at_once, int alone, REAL *room, int threads)
{
    grid g = grid_of(shape);
    long total = g.images * g.down * g.across, panels = of / PANEL;
    long depth = sums / PAIR, apart = at_once * depth + APART, apart_out = at_once * of + APART;
    REAL *values = room, *found = room + POINTS * apart;
    if (alone) {
#pragma omp parallel for num_threads(threads) schedule(dynamic)
        for (long start = 0; start < total; start += at_once) {
            long tiles = total - start < at_once ? total - start : at_once;
            REAL *mine = values + omp_get_thread_num() * winograd_room(at_once, sums, of), *made = mine + POINTS * apart;
            for (long tile = 0; tile < tiles; tile++) take_tile(images, g, sums, start + tile, mine + tile * depth, apart);
            ahead next[2] = {ahead_of(outputs, g, of, start, tiles, 0), ahead_of(images, g, sums, start + threads * at_once, at_once, 1)};
            for (long item = 0; item < POINTS * panels; item++)
                next[item % 2] = product_asking(mine + item / panels * apart, tiles, depth, kernels + item * depth * PANEL,
                                                made + item / panels * apart_out + item % panels * PANEL, of, next[item % 2]);
            for (long tile = 0; tile < tiles; tile++) give_output(made + tile * of, apart_out, bias, g, of, start + tile, outputs);
        }
        return;
    }
#pragma omp parallel num_threads(threads)
    for (long start = 0; start < total; start += at_once) {
        long tiles = total - start < at_once ? total - start : at_once;
#pragma omp for schedule(static)
        for (long tile = 0; tile < tiles; tile++) take_tile(images, g, sums, start + tile, values + tile * depth, apart);
#pragma omp for schedule(static)
        for (long item = 0; item < POINTS * panels; item++) {
            long point = item / panels, panel = item % panels;
            product(values + point * apart, depth, 1, tiles, depth, kernels + item * depth * PANEL,
                    found + point * apart_out + panel * PANEL, of, 0);
        }
#pragma omp for schedule(static)
        for (long tile = 0; tile < tiles; tile++) give_output(found + tile * of, apart_out, bias, g, of, start + tile, outputs);
    }
}

/* The gradient of kernels (of, sums, 3, 3) from images (N, H, W, sums) and the gradient (N, H, W, of) of the outputs. `sum` is
   POINTS x sums x of, `packed` threads x at_once x PANEL. */
void winograd_kernel_gradient(const REAL *images, const REAL *gradients, REAL *to, const long *shape, long sums, long of, long at_once,
                              REAL *room, REAL *sum, REAL *packed, int threads)
{
    grid g = grid_of(shape);
    long total = g.images * g.down * g.across, panels = of / PANEL;
    long apart = WORDS(at_once) * sums + APART, apart_out = WORDS(at_once) * of + APART;
    REAL *values = room, *found = room + POINTS * apart;
#pragma omp parallel num_threads(threads)
    for (long start = 0; start < total; start += at_once) {
        long last = total - start < at_once ? total : start + at_once, depth = WORDS(last - start);
#pragma omp for schedule(static)
        for (long d = 0; d < depth; d++) {
            take_word(images, g, sums, start + d * PAIR, last, 0, values + d * sums, apart);
            take_word(gradients, g, of, start + d * PAIR, last, 1, found + d * of, apart_out);
        }
#pragma omp for schedule(static)
        for (long item = 0; item < POINTS * panels; item++) {
            long point = item / panels, panel = item % panels;
            REAL *mine = packed + omp_get_thread_num() * WORDS(at_once) * PANEL;
            const REAL *from = found + point * apart_out + panel * PANEL;
            for (long d = 0; d < depth; d++) memcpy(mine + d * PANEL, from + d * of, PANEL * sizeof(REAL));
            product(values + point * apart, 1, sums, sums, depth, mine, sum + point * sums * of + panel * PANEL, of, start > 0);
        }
    }
#pragma omp parallel for num_threads(threads) collapse(2) schedule(static)
    for (long o = 0; o < of; o += LANES)
        for (long s = 0; s < sums; s++) {
            vector rows[3][6], line[6], values[3];
            for (int x = 0; x < 6; x++) {
                for (int y = 0; y < 6; y++) line[y] = load(sum + ((6 * y + x) * sums + s) * of + o);
                to_kernel(line, values);
                for (int y = 0; y < 3; y++) rows[y][x] = values[y];
            }
            for (int y = 0; y < 3; y++) {
                to_kernel(rows[y], values);
                for (int x = 0; x < 3; x++)
                    for (int lane = 0; lane < LANES; lane++) to[((o + lane) * sums + s) * 9 + 3 * y + x] = values[x][lane];
            }
        }
}
