//! Bars side by side, readable on a light and on a dark page: they bring their own white.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::report::written;

/// A heading, and under it the name and the figure of each bar.
pub type Group = (String, Vec<(String, f64)>);

const WIDTH: u32 = 920;
const ROW: u32 = 30;
const NAMES: u32 = 300;
const AROUND: u32 = 130;

const OURS: RGBColor = RGBColor(11, 110, 105);
const PEER: RGBColor = RGBColor(196, 106, 48);
const RAW: RGBColor = RGBColor(140, 146, 152);
const TEXT: RGBColor = RGBColor(32, 33, 36);
const GRID: RGBColor = RGBColor(222, 224, 227);

fn colour(contender: &str) -> RGBColor {
    match contender {
        name if name.starts_with("cloakroom") => OURS,
        name if name.starts_with("raw") => RAW,
        _ => PEER,
    }
}

pub fn draw(path: &Path, title: &str, unit: &str, groups: &[Group]) -> Result<(), Box<dyn Error>> {
    let rows: usize = groups.iter().map(|(_, bars)| bars.len() + 1).sum();
    let figures = groups
        .iter()
        .flat_map(|(_, bars)| bars)
        .map(|(_, figure)| *figure);
    let longest = figures.fold(0.0, f64::max);
    let root = SVGBackend::new(path, (WIDTH, rows as u32 * ROW + AROUND)).into_drawing_area();
    root.fill(&WHITE)?;
    let text = |size: i32| ("sans-serif", size).into_font().color(&TEXT);
    let mut chart = ChartBuilder::on(&root)
        .caption(title, text(24))
        .margin(20)
        .x_label_area_size(36)
        .y_label_area_size(NAMES)
        .build_cartesian_2d(0.0..longest * 1.18, 0.0..rows as f64)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(GRID)
        .x_labels(6)
        .x_label_style(text(16))
        .x_label_formatter(&|value| written(*value, unit))
        .draw()?;
    let (right, left) = (
        Pos::new(HPos::Right, VPos::Center),
        Pos::new(HPos::Left, VPos::Center),
    );
    let mut row = rows as f64;
    for (heading, bars) in groups {
        row -= 1.0;
        let (x, y) = chart.backend_coord(&(0.0, row + 0.4));
        let bold = ("sans-serif", 18, FontStyle::Bold).into_font().color(&TEXT);
        root.draw(&Text::new(heading.as_str(), (x - 10, y), bold.pos(right)))?;
        for (name, figure) in bars {
            row -= 1.0;
            let bar = [(0.0, row + 0.12), (*figure, row + 0.88)];
            chart.draw_series([Rectangle::new(bar, colour(name).filled())])?;
            let (x, y) = chart.backend_coord(&(0.0, row + 0.5));
            root.draw(&Text::new(name.as_str(), (x - 10, y), text(16).pos(right)))?;
            let (x, _) = chart.backend_coord(&(*figure, row));
            let label = written(*figure, unit);
            root.draw(&Text::new(label, (x + 8, y), text(16).pos(left)))?;
        }
    }
    Ok(root.present()?)
}
