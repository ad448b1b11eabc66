# SPDX-License-Identifier: Apache-2.0
# The figures of README.md, called by page.sh: gnuplot -c figures.gp DATA OUT KINDS IMPRECISE DECODING
# DATA: a folder of files with a block for each kind of training, its name first. IMPRECISE, DECODING: budgets.
data = ARG1
out = ARG2
kinds = int(ARG3)
imprecise = ARG4
decoding = ARG5

# The colours of Okabe and Ito, told apart by colour-blind readers too.
array colour[5] = ['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00']
do for [i = 1:5] { set linetype i lc rgb colour[i] pt 2 * i + 3 ps 0.8 lw 1.8 }
set encoding utf8
set grid lt -1 lc rgb '#DDDDDD'
panels = 'retrieval aggregation'

set terminal svg size 1280,480 noenhanced font 'sans,13' background rgb 'white'
set key below horizontal maxrows 3 samplen 2 spacing 0.9  # what the model was trained with

set output out . '/budget.svg'
set multiplot layout 1,2 title 'Accuracy of models trained with dense attention and top-k, by what decodes (mean, least and largest of the seeds)'
set logscale x 2
set yrange [0:*]
set ylabel 'answers, %'
set xlabel 'k of the top-k that decodes' offset 0,0.5
most = int(word(decoding, words(decoding)))
set xtics ()
do for [k in decoding] { set xtics add (k int(k)) }
set xtics add ('dense' 2 * most)
set xrange [word(decoding, 1) / 1.3:2.6 * most]
do for [panel in panels] {
  set title panel
  plot for [i = 1:kinds] data . '/budget.' . panel index i - 1 using 1:2:3:4 with yerrorlines lt i title columnheader(1)
}
unset multiplot
unset logscale x
set xtics auto

set terminal svg size 1280,60+420*words(imprecise) noenhanced font 'sans,13' background rgb 'white'
set output out . '/precision.svg'
set multiplot layout words(imprecise),2 title 'Accuracy by the precision of an approximate top-k that decodes (mean, least and largest of the seeds)'
set xlabel 'share of the exact k that is read' offset 0,0.5
set xrange [-0.03:1.03]
do for [k in imprecise] {
  do for [panel in panels] {
    set title panel . ', k = ' . k
    plot for [i = 1:kinds] data . '/precision' . k . '.' . panel index i - 1 using 1:2:3:4 with yerrorlines lt i title columnheader(1)
  }
}
unset multiplot

set terminal svg size 1280,480 noenhanced font 'sans,13' background rgb 'white'
set output out . '/entropy.svg'
set multiplot layout 1,3 title 'Entropy of the heads of models trained with dense attention and top-k (every head of every seed)'
set xlabel 'layer' offset 0,0.5
set ylabel 'nats'
set xtics 1
set xrange [-0.5:*]
set autoscale xfixmax
set offsets 0, 0.5, 0, 0
set yrange [0:*]
do for [panel in 'text ' . panels] {
  set title panel
  plot for [i = 1:kinds] data . '/entropy.' . panel index i - 1 \
    using ($1 + 0.16 * (i - (kinds + 1) / 2.0)):2 with points lt i title columnheader(1)
}
unset multiplot
