"""gguf.py - a minimal GGUF v3 writer (F32 and Q8_0 tensors) and reader (also
F16, BF16 and Q4_0).

Q8_0: blocks of 32 values along the innermost dimension, each an f16 scale
d = max|x| / 127 followed by 32 signed bytes q = round(x / d).
Q4_0: blocks of 32 values, an f16 scale d followed by 16 bytes; the low halves
are values 0 to 15, the high halves 16 to 31, each d * (q - 8).
"""
import struct
import numpy as np

MAGIC, VERSION, ALIGN = 0x46554747, 3, 32
U32, F32, BOOL, STR, ARR, I32 = 4, 6, 7, 8, 9, 5
TYPE_F32, TYPE_F16, TYPE_Q4_0, TYPE_Q8_0, TYPE_BF16 = 0, 1, 2, 8, 30
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", U32: "I", I32: "i", F32: "f",
           BOOL: "?", 10: "Q", 11: "q", 12: "d"}


def quantize_q8_0(x):
    """float array (rows, cols) -> raw bytes; cols must be a multiple of 32."""
    blocks = np.asarray(x, np.float32).reshape(-1, 32)
    d = np.abs(blocks).max(axis=1) / np.float32(127)
    inv = np.where(d > 0, 1 / np.where(d > 0, d, 1), 0).astype(np.float32)
    t = blocks * inv[:, None]
    q = np.sign(t) * np.floor(np.abs(t) + 0.5)
    out = np.zeros(len(blocks), np.dtype([("d", "<f2"), ("q", "i1", 32)]))
    out["d"], out["q"] = d, q.astype(np.int8)
    return out.tobytes()


def dequantize_q8_0(raw, shape):
    blocks = np.frombuffer(raw, np.dtype([("d", "<f2"), ("q", "i1", 32)]))
    x = blocks["d"].astype(np.float32)[:, None] * blocks["q"].astype(np.float32)
    return x.reshape(shape)


def dequantize_q4_0(raw, shape):
    blocks = np.frombuffer(raw, np.dtype([("d", "<f2"), ("q", "u1", 16)]))
    q = np.concatenate([blocks["q"] & 15, blocks["q"] >> 4], axis=1)
    x = blocks["d"].astype(np.float32)[:, None] * (q.astype(np.float32) - 8)
    return x.reshape(shape)


def _string(s):
    b = s.encode("utf-8")
    return struct.pack("<Q", len(b)) + b


def _value(kind, v):
    if kind == U32:
        return struct.pack("<I", v)
    if kind == I32:
        return struct.pack("<i", v)
    if kind == F32:
        return struct.pack("<f", v)
    if kind == BOOL:
        return struct.pack("<B", 1 if v else 0)
    if kind == STR:
        return _string(v)
    raise ValueError(kind)


def write(path, metadata, tensors):
    """metadata: [(key, kind, value)]; an array has kind (ARR, element kind).
    tensors: [(name, float array)]; 1-D are stored F32, 2-D Q8_0."""
    head = struct.pack("<IIQQ", MAGIC, VERSION, len(tensors), len(metadata))
    for key, kind, v in metadata:
        head += _string(key)
        if isinstance(kind, tuple):
            head += struct.pack("<IIQ", ARR, kind[1], len(v))
            head += b"".join(_value(kind[1], e) for e in v)
        else:
            head += struct.pack("<I", kind) + _value(kind, v)
    data = b""
    for name, x in tensors:
        data += b"\0" * (-len(data) % ALIGN)
        ttype = TYPE_F32 if x.ndim == 1 else TYPE_Q8_0
        head += _string(name) + struct.pack("<I", x.ndim)
        head += b"".join(struct.pack("<Q", n) for n in reversed(x.shape))
        head += struct.pack("<IQ", ttype, len(data))
        data += (x.astype("<f4").tobytes() if ttype == TYPE_F32
                 else quantize_q8_0(x))
    data += b"\0" * (-len(data) % ALIGN)
    head += b"\0" * (-len(head) % ALIGN)
    with open(path, "wb") as f:
        f.write(head + data)


def read(path):
    """-> (metadata dict, tensors dict of float32 arrays)"""
    with open(path, "rb") as f:
        raw = f.read()
    at = 0

    def take(fmt):
        nonlocal at
        v = struct.unpack_from("<" + fmt, raw, at)
        at += struct.calcsize("<" + fmt)
        return v[0]

    def string():
        nonlocal at
        n = take("Q")
        at += n
        return raw[at - n:at].decode("utf-8")

    def value(kind):
        if kind == STR:
            return string()
        if kind == ARR:
            sub, n = take("I"), take("Q")
            return [value(sub) for _ in range(n)]
        return take(SCALARS[kind])

    if raw[:8] != struct.pack("<II", MAGIC, VERSION):
        raise ValueError("not a GGUF v%d file" % VERSION)
    at = 8
    n_tensors, n_meta = take("Q"), take("Q")
    meta = {}
    for _ in range(n_meta):
        key = string()
        meta[key] = value(take("I"))
    infos = []
    for _ in range(n_tensors):
        name, nd = string(), take("I")
        shape = [take("Q") for _ in range(nd)][::-1]
        infos.append((name, shape, take("I"), take("Q")))
    base = at + (-at % meta.get("general.alignment", ALIGN))
    tensors = {}
    for name, shape, ttype, off in infos:
        n = int(np.prod(shape))
        start = base + off
        if ttype == TYPE_F32:
            x = np.frombuffer(raw, "<f4", n, start).reshape(shape)
        elif ttype == TYPE_F16:
            x = np.frombuffer(raw, "<f2", n, start).reshape(shape)
        elif ttype == TYPE_BF16:
            x = np.frombuffer(raw, "<u2", n, start).astype(np.uint32) << 16
            x = x.view(np.float32).reshape(shape)
        elif ttype == TYPE_Q4_0:
            x = dequantize_q4_0(raw[start:start + n // 32 * 18], shape)
        elif ttype == TYPE_Q8_0:
            x = dequantize_q8_0(raw[start:start + n // 32 * 34], shape)
        else:
            raise ValueError("%s: tensor type %d is not read" % (name, ttype))
        tensors[name] = x.astype(np.float32)
    return meta, tensors
