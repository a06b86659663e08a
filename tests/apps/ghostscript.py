"""Ghostscript: a PDF generated here (text, curves, an image, transparency, shadings) rendered to
pixels, its text extracted, and rewritten as PDF and PostScript; all compared byte for byte."""

import hashlib
import math
import random
import re
import zlib
from pathlib import Path

from harness import App, find, main, need_file
from proof import Allocator, Failure

PAGES = 8
SMOOTH = ("-dTextAlphaBits=4", "-dGraphicsAlphaBits=4")
DEVICES = {  # output device: its options, least bytes that it must write
    "ppmraw": (("-r60", *SMOOTH), 1_000_000),
    "png16m": (("-r90", *SMOOTH, "-dNumRenderingThreads=2", "-dMaxBitmap=1000000"), 100_000),
    "txtwrite": (("-r72",), 5_000),
    "pdfwrite": (("-r72",), 100_000),
    "ps2write": (("-r72",), 100_000),
}
VARIABLE = re.compile(rb"/ID ?\[[^\]]*\]|/?(Creation|Mod)Date[^\n]*|uuid:[-0-9a-fA-F]*")


class Pdf:
    """A PDF file, built object by object."""

    def __init__(self) -> None:
        self.objects: list[bytes] = [b""]

    def add(self, body: bytes) -> int:
        self.objects.append(body)
        return len(self.objects) - 1

    def stream(self, dictionary: str, data: bytes) -> int:
        packed = zlib.compress(data, 9)
        head = f"<< {dictionary} /Filter /FlateDecode /Length {len(packed)} >>".encode()
        return self.add(head + b"\nstream\n" + packed + b"\nendstream")

    def write(self, path: Path, root: int) -> None:
        out = bytearray(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
        offsets = []
        for number, body in enumerate(self.objects[1:], 1):
            offsets.append(len(out))
            out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
        table = len(out)
        out += b"xref\n0 %d\n0000000000 65535 f \n" % len(self.objects)
        out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
        out += b"trailer\n<< /Size %d /Root %d 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (
            len(self.objects), root, table)
        path.write_bytes(out)


def draw(page: int) -> str:
    """A page's content: bands of text, curves, clips, an image under a soft alpha, a shading."""
    chance = random.Random(page)
    lines = ["/Shade sh" if page % 3 == 0 else "0.95 0.95 1 rg 0 0 595 842 re f"]
    for i in range(300):
        red, green, blue = (chance.random() for _ in range(3))
        x, y = chance.uniform(20, 560), chance.uniform(20, 820)
        lines.append(f"q {red:.3f} {green:.3f} {blue:.3f} rg /Alpha{i % 4} gs 1 0 0 1 {x:.1f} "
                     f"{y:.1f} cm 0 0 m")
        for j in range(6):
            angle = j * math.pi / 3 + page
            lines.append(f"{30 * math.cos(angle):.2f} {30 * math.sin(angle):.2f} "
                         f"{chance.uniform(-40, 40):.2f} {chance.uniform(-40, 40):.2f} "
                         f"{10 * math.cos(angle):.2f} {10 * math.sin(angle):.2f} c")
        lines.append("b*" if i % 2 else "f")
        lines.append("Q")
    lines.append("q 40 40 m 560 100 l 300 800 l h W n 300 0 0 300 150 250 cm /Alpha1 gs /Image Do "
                 "Q")
    for i in range(60):
        words = " ".join(f"word{chance.randrange(1000)}" for _ in range(9))
        lines.append(f"BT /F{i % 4} {6 + i % 9} Tf 1 0 {0.1 * (i % 3):.1f} 1 30 {20 + i * 13} Tm "
                     f"({page + 1}.{i} {words}) Tj ET")
    return "\n".join(lines)


def make_pdf(path: Path) -> None:
    pdf = Pdf()
    fonts = ("Helvetica", "Times-Roman", "Courier-Bold", "Times-Italic")
    font_list = " ".join(
        f"/F{i} {pdf.add(f'<< /Type /Font /Subtype /Type1 /BaseFont /{name} >>'.encode())} 0 R"
        for i, name in enumerate(fonts))
    alphas = " ".join(f"/Alpha{i} << /ca {a} /CA {a} /BM /{mode} >>" for i, (a, mode) in enumerate(
        [(1, "Normal"), (0.5, "Normal"), (0.7, "Multiply"), (0.4, "Screen")]))
    pixels = bytes((x * y ^ x + y * c) & 255 for y in range(400) for x in range(400)
                   for c in range(3))
    image = pdf.stream("/Type /XObject /Subtype /Image /Width 400 /Height 400 /BitsPerComponent 8 "
                       "/ColorSpace /DeviceRGB", pixels)
    shade = ("<< /ShadingType 3 /ColorSpace /DeviceRGB /Coords [300 400 10 300 400 500] /Extend "
             "[true true] /Function << /FunctionType 2 /Domain [0 1] /C0 [1 0.8 0.2] /C1 "
             "[0.2 0.4 0.9] /N 1.5 >> >>")
    resources = pdf.add(f"<< /Font << {font_list} >> /ExtGState << {alphas} >> /XObject << /Image "
                        f"{image} 0 R >> /Shading << /Shade {shade} >> >>".encode())
    contents = [pdf.stream("", draw(page).encode()) for page in range(PAGES)]
    parent = len(pdf.objects) + PAGES
    kids = [pdf.add(f"<< /Type /Page /Parent {parent} 0 R /MediaBox [0 0 595 842] /Resources "
                    f"{resources} 0 R /Contents {content} 0 R >>".encode())
            for content in contents]
    pages = pdf.add(f"<< /Type /Pages /Count {PAGES} /Kids [{' '.join(f'{k} 0 R' for k in kids)}] "
                    f">>".encode())
    pdf.write(path, pdf.add(f"<< /Type /Catalog /Pages {pages} 0 R >>".encode()))


def convert(app: App, gs: str, pdf: Path, device: str, allocator: Allocator) -> tuple[str, float]:
    options, least = DEVICES[device]
    folder = app.make_folder(f"{device}-{allocator.name}")
    output = "out" if device in ("pdfwrite", "ps2write") else "out-%03d"
    result = app.run([gs, "-q", "-dSAFER", "-dBATCH", "-dNOPAUSE", *options, f"-sDEVICE={device}",
                      f"-sOutputFile={output}", pdf], allocator, cwd=folder,
                     env={"SOURCE_DATE_EPOCH": "0"})
    lines = [result.text]
    size = 0
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        if output == "out":  # what is made from the clock is the one thing that may differ
            data = VARIABLE.sub(b"", data)
        size += len(data)
        lines.append(f"{path.name} {len(data)} {hashlib.sha256(data).hexdigest()}")
    if size < least:
        raise Failure(f"{allocator.name}: gs wrote only {size} bytes with {device}: {lines}")
    return "\n".join(lines), result.seconds


def test(app: App) -> None:
    gs = find("gs", "ghostscript")
    need_file("/usr/share/fonts/opentype/urw-base35", "fonts-urw-base35")
    pdf = app.folder / "generated.pdf"
    make_pdf(pdf)
    for device in DEVICES:
        (expected, before), (got, after) = [convert(app, gs, pdf, device, a)
                                            for a in app.allocators]
        app.compare(f"Ghostscript's output with {device}", expected, got)
        app.note(f"gs to {device}", before, after)


if __name__ == "__main__":
    main(test)
