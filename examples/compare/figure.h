// SPDX-License-Identifier: Apache-2.0
// Figures by gnuplot (Debian: gnuplot-nox), which reads a script with the data inside.
#pragma once

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "generate/whole_file.h"

namespace plot {

struct Point {
  double x = 0;
  double y = 0;
  double error = 0;  // half the height of its error bar
};

struct Line {
  std::string name;  // the same name has the same colour in every panel
  std::vector<Point> points;
  bool is_dashed = false;
};

struct Panel {
  std::string title;
  std::string x_title;
  std::string y_title;
  std::string settings;  // gnuplot commands
  std::vector<Line> lines;
  bool has_own_legend = false;  // right below it; its lines are then not in the legend of the figure
};

struct Figure {
  std::string title;
  std::size_t columns = 1;
  int panel_width = 640;
  int panel_height = 420;
  std::vector<Panel> panels;
};

/// Throws when a figure cannot come to `path`: asked before long work, not after it.
inline void require_gnuplot(const std::filesystem::path& path) {
  const auto extension = path.extension();
  if (extension != ".svg" && extension != ".png") {
    throw std::runtime_error("--plot " + path.string() + ": the name of a figure ends in .svg or .png");
  }
  const auto folder = path.parent_path();
  if (!folder.empty() && !std::filesystem::is_directory(folder)) {
    throw std::runtime_error("--plot " + path.string() + ": there is no folder " + folder.string());
  }
  engine::require_writable(path);
  if (std::system("command -v gnuplot >/dev/null 2>&1") != 0) {
    throw std::runtime_error(
        "--plot needs gnuplot, which is not installed (Debian: apt install gnuplot-nox)");
  }
}

namespace detail {

/// `text` as a gnuplot string. A line break would end the command.
inline std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') out += '\'';
    out += c == '\n' ? ' ' : c;
  }
  return out + "'";
}

/// The colours of Okabe and Ito, told apart by colour-blind readers too, and six more.
inline std::string style(std::size_t i) {
  constexpr const char* kColours[] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000",
                                      "#56B4E9", "#8B4513", "#7F7F7F", "#6A3D9A", "#B2182B", "#66A61E",
                                      "#E7298A", "#1B9E77"};
  constexpr int kMarks[] = {7, 5, 9, 11, 13, 4, 6, 8, 10, 12, 15, 14, 1, 2};
  return std::string("lc rgb '") + kColours[i % std::size(kColours)] + "' pt " +
         std::to_string(kMarks[i % std::size(kMarks)]);
}

inline std::size_t place(const std::vector<std::string>& names, const std::string& name) {
  return static_cast<std::size_t>(std::find(names.begin(), names.end(), name) - names.begin());
}

/// Adds what is not there yet.
inline void add_names(const Panel& panel, std::vector<std::string>& names) {
  for (const Line& line : panel.lines) {
    if (place(names, line.name) == names.size()) names.push_back(line.name);
  }
}

inline void add_lines(std::ostream& out, const Panel& panel, const std::vector<std::string>& names) {
  std::ostringstream data;
  std::vector<std::string> titled;
  for (std::size_t i = 0; i < panel.lines.size(); ++i) {
    const Line& line = panel.lines[i];
    const std::string look = style(panel.has_own_legend ? i : place(names, line.name)) + " lw 1.8 dt " +
                             (line.is_dashed ? "2" : "1");
    const bool has_bars =
        std::any_of(line.points.begin(), line.points.end(), [](const Point& p) { return p.error > 0; });
    out << (i ? ", " : "plot ") << "'-' with " << (has_bars ? "yerrorlines " : "linespoints ")
        << style(place(names, line.name)) << " ps 0.8 lw 1.8 dt " << (line.is_dashed ? "2" : "1")
        << " title " << quoted(place(titled, line.name) == titled.size() ? line.name : "");
    titled.push_back(line.name);
    for (const Point& p : line.points) {
      data << p.x << ' ' << p.y;
      if (has_bars) data << ' ' << p.error;
      data << '\n';
    }
    data << "e\n";
  }
  out << '\n' << data.str();
}

/// What gnuplot makes of a script. It comes through a pipe, so that no disk is full for it: gnuplot would not tell.
inline std::string output_of_gnuplot(const std::string& script) {
  const std::unique_ptr<FILE, int (*)(FILE*)> input(std::tmpfile(), std::fclose);  // without a name: nothing stays
  if (!input || std::fwrite(script.data(), 1, script.size(), input.get()) != script.size() ||
      std::fflush(input.get()) != 0) {
    throw std::runtime_error("cannot write a script for gnuplot to the temporary folder");
  }
  std::rewind(input.get());
  FILE* const pipe = popen(("gnuplot /dev/fd/" + std::to_string(fileno(input.get()))).c_str(), "r");
  if (!pipe) throw std::runtime_error("cannot start gnuplot");
  std::string output;
  char part[1 << 16];
  while (const std::size_t size = std::fread(part, 1, sizeof part, pipe)) output.append(part, size);
  if (pclose(pipe) != 0 || output.empty()) throw std::runtime_error("gnuplot could not draw a figure");
  return output;
}

}  // namespace detail

/// Panels row by row, one legend below. The file is the whole figure afterwards, or after an error what it was before.
inline void draw(const std::filesystem::path& path, const Figure& figure) {
  std::vector<std::string> names;
  for (const Panel& panel : figure.panels) {
    if (!panel.has_own_legend) detail::add_names(panel, names);
  }
  const std::size_t rows = (figure.panels.size() + figure.columns - 1) / figure.columns;
  const std::size_t legend_rows = (names.size() + figure.columns - 1) / figure.columns;
  const int width = static_cast<int>(figure.columns) * figure.panel_width;
  const int title_height = 40,
            legend_height = names.empty() ? 0 : 40 + 24 * static_cast<int>(legend_rows);
  const int height = title_height + static_cast<int>(rows) * figure.panel_height + legend_height;

  std::ostringstream out;
  out.precision(8);
  out << "set encoding utf8\nset terminal " << (path.extension() == ".svg" ? "svg" : "pngcairo")
      << " size " << width << ',' << height << " noenhanced font 'sans,13' background rgb 'white'\n"
      << "set multiplot\n"
      << "set label 1 " << detail::quoted(figure.title) << " at screen 0.5," << 1 - 20.0 / height
      << " center font 'sans,13'\n";
  const auto place_panel = [&](double left, double top, double panel_width, double panel_height) {
    out << "set origin " << left / width << ',' << 1 - (top + panel_height) / height << "\nset size "
        << panel_width / width << ',' << panel_height / height << '\n';
  };
  for (std::size_t i = 0; i < figure.panels.size(); ++i) {
    const Panel& panel = figure.panels[i];
    place_panel(static_cast<double>(i % figure.columns) * figure.panel_width,
                title_height + static_cast<double>(i / figure.columns) * figure.panel_height,
                figure.panel_width, figure.panel_height);
    out << "set grid lt 1 lc rgb '#DDDDDD'\nset format '%g'\n"
        << (panel.has_own_legend ? "set key below horizontal Left reverse samplen 2\n" : "unset key\n")
        << "set title " << detail::quoted(panel.title) << "\nset xlabel "
        << detail::quoted(panel.x_title) << "\nset ylabel " << detail::quoted(panel.y_title) << '\n'
        << panel.settings << '\n';
    std::vector<std::string> own;
    if (panel.has_own_legend) detail::add_names(panel, own);
    detail::add_lines(out, panel, panel.has_own_legend ? own : names);
    out << "unset label 1\nunset arrow\nunset logscale\nset xrange [*:*]\nset yrange [*:*]\nset xtics "
           "auto\n";
  }
  if (!names.empty()) {  // the legend: a panel whose lines are out of sight
    place_panel(0, height - legend_height, width, legend_height);
    out << "unset border\nunset tics\nunset title\nunset xlabel\nunset ylabel\nunset grid\nset xrange "
           "[0:1]\n"
        << "set yrange [0:1]\nset key center center horizontal maxrows " << legend_rows << " maxcols "
        << figure.columns << " Left reverse samplen 3\n";
    Panel legend;
    for (const std::string& name : names) {
      Line line{name, {{-1, -1}}};
      for (const Panel& panel : figure.panels) {
        for (const Line& other : panel.lines) line.is_dashed |= other.name == name && other.is_dashed;
      }
      legend.lines.push_back(line);
    }
    detail::add_lines(out, legend, names);
  }
  out << "unset multiplot\n";

  engine::write_whole(path, detail::output_of_gnuplot(out.str()));
}

}  // namespace plot
