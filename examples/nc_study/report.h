// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "study.h"

namespace nc {

/// Markdown on stdout: what was done, every table, and which claims of the n^C paper hold.
void print_findings(const Plan& plan, const Findings& findings);

void write_csv(const std::filesystem::path& path, const Plan& plan, const Findings& findings);

void plot_findings(const std::filesystem::path& path, const Plan& plan, const Findings& findings);

}  // namespace nc
