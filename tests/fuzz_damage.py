"""How files are damaged with knowledge of their format: each function takes a random generator and what is whole."""

import ast
import gzip
import io
import json
import lzma
import struct
import zlib
from functools import cache

import numpy as np
import zstandard

WORDS = (
    "", " ", "\t", "\n", "\r", "\x00", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\u202e", "\ufeff", "\u2028", "\x85",
    "é", "漢", "\U0001f600", "\ud800", "<script>alert(1)</script>", "[bold]x[/bold]", "---", "`", "|", '"', "'", ",",
    "../../x", "/etc/passwd", "/dev/zero", "/dev/stdin", "..", ".", "a/b", "C:\\x", "${HOME}", "%s%n", "nan", "inf",
    "-1", "0", "1e999", "9" * 40, "true", "null", "~", "a" * 300, "a" * 70_000, "é" * 70_000, "__import__('os')",
    "auto_map", "hf:x", "http://localhost:1/x", "[MASK]", "##", "Ġ",
)  # fmt: skip
NUMBERS = (
    0, 1, -1, 2, 3, 7, 255, 256, 65535, 65536, 2**31 - 1, 2**31, -(2**31), 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64,
    10**18, 10**30, 10**309, -(10**9), 10**6, 10**9, 0.0, -0.0, 0.5, 1.5, 1e-300, 1e308, -1e308,
)  # fmt: skip
# what json.dumps does not write
RAW = (
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 5000, "1." + "0" * 5000, "[" * 3000 + "]" * 3000,
    '{"a":' * 3000 + "1" + "}" * 3000, '"\\ud800"', '"\\u0000"', '"\\x"', '{"a":1,"a":2}', "01", "", "nul", "'a'",
)  # fmt: skip
LONG_LINE = 17 * 2**20  # bytes; more than a line may have
BOMB = 256  # MiB that a bomb unpacks to
HOLE = "\x01hole\x01"


def damaged(chance, data):
    """Bytes flipped, set, cut out, put in, doubled, cut short or joined."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        at = chance.randrange(len(out) + 1)
        size = min(chance.choice((1, 1, 2, 4, 8, 64, 4096)), len(out) - at)
        match chance.randrange(9):
            case 0 | 1 if size:
                out[at] ^= 1 << chance.randrange(8)
            case 2 if size:
                out[at : at + size] = bytes([chance.choice((0, 1, 127, 128, 254, 255))]) * size
            case 3:
                del out[at : at + size]
            case 4:
                out[at:at] = chance.choice((b"\0", b"\xff", b"\xef\xbb\xbf", b"\n", b"\xed\xa0\x80", b"\xc3")) * (
                    size or 1
                )
            case 5:
                out[at:at] = out[at : at + size]
            case 6 if size in (1, 2, 4, 8):
                number = chance.choice((0, 1, -1, 2 ** (8 * size - 1) - 1, -(2 ** (8 * size - 1))))
                out[at : at + size] = number.to_bytes(size, "little", signed=True)
            case 7:
                del out[at:]
            case _:
                other = chance.randrange(len(out) + 1)
                out[at : at + size] = out[other : other + size]
    return bytes(out)


def value(chance):
    """A JSON value of any kind."""
    match chance.randrange(6):
        case 0:
            return chance.choice((None, True, False))
        case 1 | 2:
            return chance.choice(NUMBERS)
        case 3:
            return chance.choice(WORDS)
        case 4:
            return [value(chance) for _ in range(chance.randrange(3))]
        case _:
            return {chance.choice(WORDS): value(chance) for _ in range(chance.randrange(3))}


def _places(whole):
    """(container, key) of everything in a JSON value."""
    for key in list(whole) if isinstance(whole, dict) else range(len(whole)):
        yield whole, key
        if isinstance(whole[key], dict | list):
            yield from _places(whole[key])


def changed(chance, whole):
    """A JSON object or list with other values, keys and lengths; HOLE stands for what `json` would not write."""
    whole = json.loads(json.dumps(whole))
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        places = list(_places(whole))
        if not places:
            return value(chance)
        inside, key = chance.choice(places)
        match chance.randrange(10):
            case 0 | 1 | 2:
                inside[key] = value(chance)
            case 3:
                inside[key] = HOLE
            case 4:
                del inside[key]
            case 5:
                other, name = chance.choice(places)
                held = other.get(name) if isinstance(other, dict) else other[name] if name < len(other) else None
                inside[key] = json.loads(json.dumps(held))
            case 6 if isinstance(inside, dict):
                inside[chance.choice(WORDS)] = inside.pop(key)
            case 6 | 7 if isinstance(inside, list):
                inside.insert(chance.randrange(len(inside) + 1), inside[key])
            case 7 if isinstance(inside, dict):
                inside[chance.choice(WORDS)] = value(chance)
            case 8 if isinstance(inside[key], int | float) and not isinstance(inside[key], bool):
                inside[key] += chance.choice((1, -1, 0.5, 1000, -1000))
            case _:
                inside[key] = [inside[key]] if chance.random() < 0.5 else {"a": inside[key]}
    return whole


def json_text(chance, whole):
    """JSON of a changed value as bytes, now and then no JSON at all."""
    text = json.dumps(changed(chance, whole), ensure_ascii=chance.random() < 0.5)
    text = text.replace(json.dumps(HOLE), chance.choice(RAW)).replace(f'"{HOLE}"', chance.choice(RAW))
    match chance.randrange(30):
        case 0:
            return text.encode(chance.choice(("utf-16", "utf-32", "utf-8-sig", "latin-1")), "replace")
        case 1 if text.startswith("{") and len(text) > 2:  # each key twice
            return (text[:-1] + "," + text[1:]).encode("utf-8", "surrogatepass")
        case 2:
            return chance.choice(RAW).encode()
    return text.encode("utf-8", "surrogatepass")


def json_file(chance, data):
    """Mostly JSON of other content, else other bytes."""
    return json_text(chance, json.loads(data)) if chance.random() < 0.8 else damaged(chance, data)


def json_lines(chance, data):
    """One line changed or damaged; lines doubled, joined, made blank."""
    lines = data.splitlines(keepends=True)
    at = chance.randrange(len(lines))
    match chance.randrange(6):
        case 0:
            return damaged(chance, data)
        case 1:
            lines[at] = chance.choice(
                (b"\n", b"\r\n", b"\0\n", b"   \n", lines[at] * 2, lines[at].rstrip() * 2 + b"\n")
            )
        case _:
            lines[at] = json_text(chance, json.loads(lines[at])) + b"\n"
    return b"".join(lines)


def text_file(chance, data, between=("\n", "\r\n", "\n\n", " ")):
    """Text in which words, separators and lines are others; now and then a very long line."""
    match chance.randrange(8):
        case 0 | 1:
            return damaged(chance, data)
        case 2 if chance.random() < 0.02:
            at = chance.randrange(len(data) + 1)
            return data[:at] + b"x" * LONG_LINE + data[at:]
    text = data.decode("utf-8")
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randrange(len(text) + 1)
        end = min(len(text), at + chance.choice((0, 0, 1, 3, 20)))
        text = text[:at] + chance.choice((*between, *WORDS)) + text[end:]
    return text.encode("utf-8", "surrogatepass")


def table_file(chance, data, separator):
    """A table with cells of other content and rows of other lengths."""
    if chance.random() < 0.3:
        return text_file(chance, data, (separator, "\n", "\r", '"', '""', f'"{separator}'))
    rows = [line.split(separator) for line in data.decode("utf-8").splitlines()]
    for _ in range(chance.choice((1, 1, 2, 4))):
        row = rows[chance.randrange(len(rows))]
        at = chance.randrange(len(row) + 1)
        match chance.randrange(5):
            case 0:
                row.insert(at, chance.choice(WORDS))
            case 1 if len(row) > 1:
                del row[min(at, len(row) - 1)]
            case 2:
                rows.insert(chance.randrange(len(rows) + 1), list(row))
            case _:
                row[min(at, len(row) - 1)] = chance.choice((*WORDS, *map(str, NUMBERS)))
    return "\n".join(separator.join(row) for row in rows).encode("utf-8", "surrogatepass")


YAML = (
    "&a [x]", "*a", "!!python/object/apply:os.system ['true']", "!x y", "{a: 1, a: 2}", "[" * 500, "{" * 500,
    "- " * 500 + "x", "? a\n: b", "<<: *a", "|\n  x", ">-\n  x", "'", '"', "\t", "%YAML 9.9\n---", "---", "...",
    ".nan", ".inf", "-.inf", "1e999", "0o7", "0x1f", "1_000", "yes", "off", "~", "2001-01-01", "!!binary aGk=", "=",
    "\x07", "\x85", "#", ":", "a: b: c", "[1, 2", "\ufffe",
)  # fmt: skip
LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 10)}]\n" for i in range(9))


def yaml_file(chance, data):
    """Settings with other keys, values and structure."""
    if chance.random() < 0.2:
        return damaged(chance, data) if chance.random() < 0.8 else LAUGHS.encode()
    lines = data.decode("utf-8").splitlines()
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randrange(len(lines))
        key, colon, _ = lines[at].partition(":")
        new = chance.choice((*YAML, *WORDS, *map(str, NUMBERS)))
        match chance.randrange(6):
            case 0:
                lines[at] = new
            case 1:
                lines.insert(at, lines[chance.randrange(len(lines))])
            case 2:
                lines[at] = chance.choice((" ", "  ", "\t", "")) + lines[at].lstrip()
            case 3:
                lines[at] = lines[at].replace("e", "", 1)
            case _:
                lines[at] = f"{key}{colon or ':'} {new}"
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def npy_file(chance, data):
    """An array with a header that says something else: type, shape, length, version."""
    if chance.random() < 0.3:
        return damaged(chance, data)
    size = struct.unpack("<H", data[8:10])[0]
    header, body = ast.literal_eval(data[10 : 10 + size].decode()), data[10 + size :]
    text = None
    match chance.randrange(8):
        case 0:
            kinds = ("<u2", ">u2", "<u4", "|u1", "<i8", "<f4", "|O", "|b1", "<U9", "|S0", "<M8[s]", "V8", "x", "")
            header["descr"] = chance.choice((*kinds, [("a", "<u2"), ("b", "|O")], ("<u2", (2,)), 3))
        case 1 | 2:
            shapes = (
                (),
                (0,),
                (-1,),
                (10**12,),
                (2**63,),
                (1, 10**9),
                (3, -1),
                (True,),
                [2],
                "ab",
                (2,) * 80,
                (0, 2**62),
            )
            header["shape"] = chance.choice(shapes)
        case 3:
            header["fortran_order"] = chance.choice((True, 1, None, "x"))
        case 4:
            header.pop(chance.choice(list(header)))
        case 5:
            text = chance.choice(
                ("__import__('os').getcwd()", "(" * 900 + ")" * 900, "{" * 200, "-" * 5000 + "1", "", "{'a': 1}")
            )
        case 6:
            body = chance.choice((b"", body[: len(body) // 2], body + b"x", body * 2))
        case _:
            header["x"] = 1
    packed = (repr(header) if text is None else text).encode() + b"\n"
    said = chance.choice((len(packed),) * 6 + (0, 1, 65535))
    version = chance.choice((b"\x01\x00",) * 6 + (b"\x02\x00", b"\x03\x00", b"\x09\x00"))
    length = struct.pack("<H", said) if version == b"\x01\x00" else struct.pack("<I", chance.choice((said, 2**32 - 1)))
    return b"\x93NUMPY" + version + length + packed + body


def npz_file(chance, data):
    """Arrays in a zip, damaged one by one, left out, or packed so that they grow when they are read."""
    if chance.random() < 0.3:
        return damaged(chance, data)
    import zipfile

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = chance.choice(list(members))
    bomb = chance.random() < 0.01
    match 0 if bomb else chance.randrange(5):
        case 0 if bomb:
            members[name] = _npy(np.zeros(2**26, dtype=np.uint32))
        case 0:
            del members[name]
        case 1:
            members[chance.choice(("../x.npy", "/tmp/x.npy", "x"))] = members.pop(name)
        case 2:
            kinds = (np.uint16, np.int64, np.float64, np.bool_)
            members[name] = _npy(np.zeros(chance.choice((0, 1, 2, 3)), dtype=chance.choice(kinds)))
        case _:
            members[name] = npy_file(chance, members[name])
    out = io.BytesIO()
    packing = zipfile.ZIP_DEFLATED if bomb or chance.random() < 0.2 else zipfile.ZIP_STORED
    with zipfile.ZipFile(out, "w", packing, compresslevel=1) as archive:
        for each, content in members.items():
            archive.writestr(each, content)
    return out.getvalue()


def _npy(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def safetensors_file(chance, data):
    """Tensors whose header says something else, or is of another length."""
    if chance.random() < 0.25:
        return damaged(chance, data)
    size = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    name = chance.choice([each for each in header if each != "__metadata__"])
    tensor = header[name]
    packed = None
    match chance.randrange(7):
        case 0:
            kinds = ("F64", "F16", "BF16", "I64", "I8", "U8", "BOOL", "F8_E4M3", "X", "", None, 1)
            tensor["dtype"] = chance.choice(kinds)
        case 1:
            tensor["shape"] = chance.choice(
                ([], [0], [-1], [2**63], [2**32, 2**32], tensor["shape"][::-1], None, [1.5])
            )
        case 2:
            tensor["data_offsets"] = chance.choice(([0, 0], [0, 2**40], [4, 0], [-1, 4], [], None, [0, 4]))
        case 3:
            header[chance.choice(("x", "", "a" * 1000, "layers.0"))] = header.pop(name)
        case 4:
            body = chance.choice((b"", body[:-1], body + b"xxxx", bytes(len(body)), b"\xff" * len(body)))
        case 5:
            del header[name]
        case _:
            packed = json_text(chance, header)
    packed = json.dumps(header).encode() if packed is None else packed
    said = chance.choice((len(packed),) * 8 + (0, 1, len(packed) + 1, 2**63, 2**64 - 1, 10**8))
    return struct.pack("<Q", said) + packed + body


PACK = {
    ".gz": lambda data: gzip.compress(data, 6, mtime=0),
    ".xz": lambda data: lzma.compress(data, preset=1),
    ".zst": lambda data: zstandard.ZstdCompressor(3).compress(data),
}


STREAMS = {
    ".gz": lambda: zlib.compressobj(6, zlib.DEFLATED, 31),
    ".xz": lambda: lzma.LZMACompressor(preset=0),
    ".zst": lambda: zstandard.ZstdCompressor(1).compressobj(),
}


@cache
def bomb(ending, plain):
    """The same few bytes again and again, in one line or in 1 MiB of lines, packed."""
    packer, part = STREAMS[ending](), plain * (2**20 // len(plain))
    parts = [packer.compress(part) for _ in range(1 if b"\n" in plain else BOMB)]
    return b"".join([*parts, packer.flush()])


def frame(window, blocks):
    """A zstd frame of so many blocks of 128 KiB of zeros, which are four bytes each, with this window descriptor."""
    block = (2**17 << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    last = (2**17 << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"\0"
    return b"\x28\xb5\x2f\xfd\0" + bytes([window]) + block * (blocks - 1) + last


def large_dictionary(data, size):
    """An xz file whose header asks for another dictionary, with a checksum that says so."""
    head = bytearray(lzma.compress(data))
    end = 12 + (head[12] + 1) * 4 - 4
    head[16] = size
    head[end : end + 4] = zlib.crc32(head[12:end]).to_bytes(4, "little")
    return bytes(head)


@cache
def _other_packings(ending, data):
    """Whole and nearly whole files that ask for much memory, or are packed in parts."""
    if ending == ".xz":
        alone = lzma.compress(data, format=lzma.FORMAT_ALONE)
        return (*(large_dictionary(data, size) for size in (24, 36, 40)), alone, alone[:1] + b"\xff" * 4 + alone[5:])
    if ending == ".zst":
        one = zstandard.ZstdCompressor().compressobj()
        flushed = b"".join([one.compress(data), one.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK), one.flush()])
        skipped = b"\x50\x2a\x4d\x18"
        frames = (frame(0x38, 4), frame(0xA0, 4), frame(0xF8, 4), frame(0x38, 64 * BOMB))
        return (*frames, flushed, skipped + b"\3\0\0\0abc" + flushed, skipped + b"\xff\xff\xff\x7f" + flushed)
    return (gzip.compress(data, 0), gzip.compress(data)[:3] + b"\x1e" + gzip.compress(data)[4:])


def packed_file(chance, ending, plain, inside):
    """A compressed file: its content changed before or its bytes after, parts joined, or a bomb.

    Args:
        ending: .gz, .xz or .zst.
        plain: what is whole.
        inside: how its format is damaged.
    """
    match chance.randrange(7):
        case 0 | 1:
            return PACK[ending](inside(chance, plain))
        case 2:
            packed = PACK[ending](plain)
            return packed + chance.choice((packed, b"\0" * 8, b"garbage", b"\0", packed[:5], damaged(chance, packed)))
        case 3:
            return damaged(chance, chance.choice(_other_packings(ending, plain)))
        case 4:
            return chance.choice(_other_packings(ending, plain))
        case 5 if chance.random() < 0.03:
            return bomb(ending, chance.choice((b"\0", b"a", b"a\n", b"[[],", b'{"text":"a"}\n', b"a,b\n")))
    return damaged(chance, PACK[ending](plain))


@cache
def _tables():
    """Parquet files that are whole, of many kinds."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = ["one document", "and another", None, "é漢"]
    columns = [
        {"text": texts, "n": [1, 2, 3, 4]},
        {"text": [1, 2, 3, 4]},
        {"text": [b"\xff\xfe", b"a", b"", None]},
        {"text": [["a"], ["b", None], [], None]},
        {"text": [{"a": 1}, {"a": None}, None, {"a": 3}]},
        {"other": texts},
        {"text": pa.array(texts, pa.large_string())},
        {"text": pa.array(texts, pa.string_view())},
        {"text": pa.array(texts).dictionary_encode()},
        {"text": pa.array([], pa.string())},
        {"text": pa.array([None] * 4, pa.null())},
        {},
        {"text": ["a" * 2**20] * 300},
        {"text": ["\ufeff\x1b[31m\x00"] * 4},
    ]
    made = []
    for content in columns:
        for packing in ("none", "zstd", "snappy", "gzip"):
            out = io.BytesIO()
            options = {"compression": packing, "row_group_size": 100, "use_dictionary": packing != "gzip"}
            pq.write_table(pa.table(content), out, **options, data_page_version="2.0" if packing == "zstd" else "1.0")
            made.append(out.getvalue())
    # invalid UTF-8 in a column that says it is text
    wrong = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(np.array([0, 2, 4], "<i4")), pa.py_buffer(b"\xff\xfe\xc3\x28")]
    )
    out = io.BytesIO()
    pq.write_table(pa.table({"text": wrong}), out)
    return [*made, out.getvalue()]


def parquet_file(chance, data):
    """Parquet of another kind, or damaged where it counts: the footer, its length, the pages' headers."""
    if chance.random() < 0.15:
        return chance.choice(_tables())
    whole = data if chance.random() < 0.5 else chance.choice([each for each in _tables() if len(each) < 10_000])
    size = struct.unpack("<I", whole[-8:-4])[0]
    pages, footer = whole[4 : -8 - size], whole[-8 - size : -8]
    match chance.randrange(4):
        case 0:
            return damaged(chance, whole)
        case 1:
            pages = damaged(chance, pages)
        case 2:
            size = chance.choice((0, 1, size + 1, size - 1, 2**31 - 1, 2**32 - 1))
        case _:
            footer = damaged(chance, footer)
            size = len(footer)
    return b"PAR1" + pages + footer + struct.pack("<I", size) + b"PAR1"


def folders_differ(before, after, may_write=()):
    """The files that a reading changed, removed or made; locks aside."""
    names = {name for name in before | after if before.get(name) != after.get(name)}
    return sorted(n for n in names if not n.endswith((".lock", "/lock")) and not n.startswith(tuple(may_write) or "\0"))
