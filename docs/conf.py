"""How Sphinx builds the documentation: `make docs`; the pages need no network and no server."""

import re
import sys
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.directives.patches import Figure
from sphinx.writers.html5 import HTML5Translator

sys.path.insert(0, str(Path(__file__).parent.parent))  # benchmarks
sys.path.insert(0, str(Path(__file__).parent))

import figures

import lovasz
import lovasz.berman
import lovasz.metrics

project = "lovasz"
author = "The lovasz developers"
copyright = author
release = lovasz.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

# Pages: Markdown that hosts of repositories show as well, with formulas between dollars.
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

# The API from docstrings. Single backquotes are code in them, or a link where they hold a public name.
default_role = "code"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 60
napoleon_numpy_docstring = False
napoleon_use_rtype = False  # what stands before a colon there is a shape, not a type
napoleon_use_ivar = True
napoleon_custom_sections = ["Shape"]

# Every name must lead somewhere. Left out are types of other projects, which need a network to be looked up.
nitpick_ignore_regex = [("py:class", r"(torch|collections\.abc)\..*|ProcessGroup")]

html_theme = "furo"
pygments_dark_style = "a11y-high-contrast-dark"
html_title = f"lovasz {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_math_renderer = "mathml"
html_show_search_summary = False  # it would fetch the pages, which a browser refuses without a server
html_theme_options = {"navigation_with_keys": True}

PUBLIC = {*lovasz.__all__, *lovasz.berman.__all__, *lovasz.metrics.__all__}


def escape(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Docstrings are plain text with `code` in it: a star, a bar or a letter with a point is no markup there."""
    for number, line in enumerate(lines):
        if line.lstrip().startswith((">>>", "...")):
            continue
        line = re.sub(r"(: )(\w\.)$", r"\1\\\2", line)
        parts = re.split(r"(``.*?``|`[^`]*`)", line)
        for i, part in enumerate(parts):
            if i % 2 == 0:
                parts[i] = re.sub(r"([*|])", r"\\\1", part)
            elif part[1:-1] in PUBLIC and part[1:-1] != name.rpartition(".")[2]:
                text = part[1:-1]
                at_the_top = text in lovasz.__all__ and not name.startswith("lovasz.berman.")
                parts[i] = f":py:obj:`{text} <lovasz.{text}>`" if at_the_top else f":py:obj:{part}"
        lines[number] = "".join(parts)


def inline_formula(self: HTML5Translator, node: nodes.math) -> None:
    """A formula in a line, as MathML: browsers draw it, with no script and no font to load."""
    self.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def block_formula(self: HTML5Translator, node: nodes.math_block) -> None:
    """A formula of its own."""
    self.body.append(f'<div class="formula">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


class Drawn(Figure):
    """A figure of figures.py by its name: of its two drawings the page shows the one for its shade."""

    def run(self) -> list[nodes.Node]:
        """The figure, with a second image in it."""
        name = self.arguments[0]
        self.arguments[0] = f"/_figures/{name}-light.svg"
        (figure,) = super().run()
        light = figure.next_node(nodes.image)
        dark = light.copy()
        dark["uri"] = f"/_figures/{name}-dark.svg"
        light["classes"], dark["classes"] = ["only-light"], ["only-dark"]
        figure.insert(1, dark)
        return [figure]


def give_classes(app: Sphinx, document: nodes.document) -> None:
    """Gives what follows `<!-- .name -->` the class, as Markdown has no way that is not seen elsewhere."""
    for comment in [*document.findall(nodes.comment), *document.findall(nodes.raw)]:
        found = re.fullmatch(r"(?:<!-- )?\.([a-z]+)(?: -->)?", comment.astext().strip())
        if found:
            following = comment.next_node(nodes.Element, descend=False, siblings=True)
            while isinstance(following, (nodes.comment, nodes.raw)):
                following = following.next_node(nodes.Element, descend=False, siblings=True)
            following["classes"].append(found[1])


def setup(app: Sphinx) -> None:
    """Draws the figures; nothing of them is kept in the repository."""
    figures.draw(Path(__file__).parent / "_figures")
    app.add_directive("drawn", Drawn)
    app.add_html_math_renderer("mathml", (inline_formula, None), (block_formula, None))
    app.connect("doctree-read", give_classes)
    app.connect("autodoc-process-docstring", escape, priority=400)  # before napoleon
