/* One step of an LSTM for R rows and V vectors of its state.

       in, out, forget = sigmoid(given + u * h)      new = tanh(given + u * h)
       cell            = forget * cell + in * new    h   = out * tanh(cell) */
INLINE void lstm_block(const int R, const int V, const int placed, const size_t hidden,
                       const size_t stride, const size_t lane, const size_t begin,
                       const size_t end, float *sums, const float *u, const float *const *from,
                       const float *place, const float *h, float *cell, float *out)
{
    vector gate[8][4][4];
    EACH(v, V) EACH(r, R) EACH(g, 4) {
        if (begin == 0) {
            const size_t at = gate_at(lane, v, 4) + (size_t)(g * 16);
            gate[r][v][g] = LOAD(from[r] + at);
            if (placed) gate[r][v][g] += LOAD(place + at);
        } else {
            gate[r][v][g] = LOAD(sums + ((r * V + v) * 4 + g) * LANES);
        }
    }
    EACH(part, 4 / GATES_AT_ONCE) {
        for (size_t k = begin; k < end; k++) {
            EACH(v, V) {
                vector w[GATES_AT_ONCE];
                EACH(g, GATES_AT_ONCE)
                    w[g] = LOAD(u + weight_at(lane, v, 4, hidden) + k * 64 +
                                (part * GATES_AT_ONCE + g) * 16);
                EACH(r, R) {
                    float state = h[(size_t)r * stride + k];
                    EACH(g, GATES_AT_ONCE) gate[r][v][part * GATES_AT_ONCE + g] += w[g] * state;
                }
            }
        }
    }
    EACH(v, V) EACH(r, R) {
        if (end < hidden) {
            EACH(g, 4) STORE(sums + ((r * V + v) * 4 + g) * LANES, gate[r][v][g]);
            continue;
        }
        const size_t own = (size_t)r * stride + lane + (size_t)(v * LANES);
        vector pi, qi, po, qo, pf, qf, pn, qn, pc, qc;
        tanh_parts(gate[r][v][0], &pi, &qi);
        tanh_parts(gate[r][v][2], &pf, &qf);
        tanh_parts(gate[r][v][3], &pn, &qn);
        vector moved = ((qf + pf) * LOAD(cell + own) * (qi * qn) + (qi + pi) * pn * qf) /
                       ((qf + qf) * (qi * qn));
        STORE(cell + own, moved);
        tanh_parts(gate[r][v][1], &po, &qo);
        tanh_parts(moved, &pc, &qc);
        STORE(out + own, (qo + po) * pc / ((qo + qo) * qc));
    }
}
