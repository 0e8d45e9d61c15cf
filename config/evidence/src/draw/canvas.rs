//! A drawing under construction.

use std::fmt::Write;

/// Shapes in the coordinates of a view box.
pub struct Canvas {
    width: u32,
    height: u32,
    body: String,
}

/// Text for XML: markup and quotes escaped, control characters dropped.
#[must_use]
pub fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => {}
            c => out.push(c),
        }
        out
    })
}

impl Canvas {
    /// An empty drawing.
    #[must_use]
    pub fn new(width: u32, height: u32) -> Canvas {
        Canvas { width, height, body: String::new() }
    }

    fn put(&mut self, shape: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.body.write_fmt(shape);
        self.body.push('\n');
    }

    /// A framed rectangle with a tool tip.
    pub fn rectangle(&mut self, at: (f64, f64), size: (f64, f64), fill: &str, tip: &str) {
        self.fill(at, size, fill, "1", tip);
    }

    /// A rectangle in a paler shade of a colour.
    pub fn pale(&mut self, at: (f64, f64), size: (f64, f64), fill: &str, tip: &str) {
        self.fill(at, size, fill, "0.35", tip);
    }

    fn fill(&mut self, at: (f64, f64), size: (f64, f64), fill: &str, opacity: &str, tip: &str) {
        let ((x, y), (w, h)) = (at, size);
        let tip = escape(tip);
        self.put(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" fill=\"{fill}\" fill-opacity=\"{opacity}\" stroke=\"#444\" \
             stroke-width=\"0.7\"><title>{tip}</title></rect>"
        ));
    }

    /// Text on a plain ground that starts (`start`), is centred (`middle`) or ends (`end`) at a point.
    pub fn text(&mut self, at: (f64, f64), anchor: &str, size: u32, text: &str) {
        self.write(at, anchor, size, text, "");
    }

    /// Text across lines, which a white rim keeps off the letters.
    pub fn label(&mut self, at: (f64, f64), anchor: &str, size: u32, text: &str) {
        self.write(
            at,
            anchor,
            size,
            text,
            " paint-order=\"stroke\" stroke=\"#fff\" stroke-width=\"3\" stroke-linejoin=\"round\"",
        );
    }

    fn write(&mut self, (x, y): (f64, f64), anchor: &str, size: u32, text: &str, rim: &str) {
        let text = escape(text);
        self.put(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\"{rim}>{text}</text>"
        ));
    }

    /// A line, dashed or not.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), dashed: bool) {
        let ((x1, y1), (x2, y2)) = (from, to);
        let dash = if dashed { " stroke-dasharray=\"4 3\"" } else { "" };
        self.put(format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#444\"{dash}/>"
        ));
    }

    /// An arrow's head on a horizontal line, pointing to the right or to the left.
    pub fn head(&mut self, y: f64, at: f64, rightwards: bool) {
        let back = if rightwards { -8.0 } else { 8.0 };
        let (x, top, bottom) = (at + back, y - 4.0, y + 4.0);
        self.put(format_args!(
            "<path d=\"M{at:.1} {y:.1} L{x:.1} {top:.1} L{x:.1} {bottom:.1} Z\" fill=\"#222\"/>"
        ));
    }

    /// A dot: where a line starts.
    pub fn dot(&mut self, (x, y): (f64, f64)) {
        self.put(format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.6\" fill=\"#222\"/>"));
    }

    /// The SVG element with a title for readers who do not see it.
    #[must_use]
    pub fn finish(self, title: &str) -> String {
        let (width, height, body, title) = (self.width, self.height, self.body, escape(title));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"img\" font-family=\"sans-serif\">\n<title>{title}</title>\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n{body}</svg>\n"
        )
    }
}
