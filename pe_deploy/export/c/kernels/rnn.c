/* One step of a plain RNN for R rows and V vectors of its state: h = activation(given + u * h). */
INLINE void rnn_block(const int R, const int V, const int placed, const int relu,
                      const size_t hidden, const size_t stride, const size_t lane,
                      const size_t begin, const size_t end, float *sums, const float *u,
                      const float *const *from, const float *place, const float *h, float *out)
{
    vector sum[8][4];
    EACH(v, V) EACH(r, R) {
        const size_t at = gate_at(lane, v, 1);
        if (begin == 0) {
            sum[r][v] = LOAD(from[r] + at);
            if (placed) sum[r][v] += LOAD(place + at);
        } else {
            sum[r][v] = LOAD(sums + (r * V + v) * LANES);
        }
    }
    for (size_t k = begin; k < end; k++) {
        vector w[4];
        EACH(v, V) w[v] = LOAD(u + weight_at(lane, v, 1, hidden) + k * 16);
        EACH(r, R) {
            float state = h[(size_t)r * stride + k];
            EACH(v, V) sum[r][v] += w[v] * state;
        }
    }
    EACH(v, V) EACH(r, R) {
        const size_t own = (size_t)r * stride + lane + (size_t)(v * LANES);
        vector p, q, zero = ALL(0.0f);
        if (end < hidden) {
            STORE(sums + (r * V + v) * LANES, sum[r][v]);
        } else if (relu) {
            STORE(out + own, CHOSEN(sum[r][v] > zero, sum[r][v], zero));
        } else {
            tanh_parts(sum[r][v], &p, &q);
            STORE(out + own, p / q);
        }
    }
}
