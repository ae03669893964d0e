/* Inputs whose weights, of some vectors, stay in the nearest cache while all rows are multiplied. */
#define DENSE_PART 96

/* out = x * weights + bias for R rows and V vectors, of some of the inputs: each weight is loaded once
   for R rows. `weights` are those of one panel from the first of these lanes on, [inputs][panel]. */
INLINE void dense_block(const int R, const int V, const size_t inputs, const size_t panel,
                        const size_t x_stride, const size_t out_stride, const size_t begin,
                        const float *weights, const float *bias, const float *x, float *out)
{
    vector sum[8][4];
    const size_t left = inputs - begin, end = begin + (left < DENSE_PART ? left : DENSE_PART);
    EACH(v, V) EACH(r, R) {
        const float *const so_far = begin > 0 ? out + (size_t)r * out_stride : bias;
        sum[r][v] = LOAD(so_far + v * LANES);
    }
    for (size_t k = begin; k < end; k++) {
        vector weight[4];
        EACH(v, V) weight[v] = LOAD(weights + k * panel + v * LANES);
        EACH(r, R) {
            float number = x[(size_t)r * x_stride + k];
            EACH(v, V) sum[r][v] += weight[v] * number;
        }
    }
    EACH(v, V) EACH(r, R) STORE(out + (size_t)r * out_stride + v * LANES, sum[r][v]);
}

#define DENSE_ROWS(R, V) \
    for (; row + (R) <= rows; row += (R)) \
        dense_block(R, V, inputs, panel, x_stride, out_stride, begin, w, b, x + row * x_stride, \
                    out + row * out_stride + lane)

/* All rows, panel by panel, V vectors at a time: a panel's weights stay near. */
#define DENSE_LANES(R, V) \
    for (size_t lane = 0; lane < lanes; lane += (V) * LANES) { \
        const float *const w = weights + lane / panel * panel * inputs + lane % panel; \
        const float *const b = bias + lane; \
        for (size_t begin = 0; begin < inputs; begin += DENSE_PART) { \
            size_t row = 0; \
            DENSE_ROWS(R, V); \
            DENSE_ROWS(2, V); \
            DENSE_ROWS(1, V); \
        } \
    }

#define DENSE(NAME, INPUTS, PANEL, NUMBERS, X_STRIDE, OUT_STRIDE, WEIGHTS, BIAS) \
    static void NAME(size_t rows, const float *x, float *out) \
    { \
        const size_t inputs = INPUTS, panel = PANEL, lanes = NUMBERS; \
        const size_t x_stride = X_STRIDE, out_stride = OUT_STRIDE; \
        const float *const weights = WEIGHTS, *const bias = BIAS; \
        if (PANEL == 48) \
            DENSE_LANES(ROWS_BY_3, 3) \
        else if (PANEL == 64) \
            DENSE_LANES(ROWS_BY_4, VECTORS_BY_4) \
        else \
            DENSE_LANES(8, 1) \
    }
