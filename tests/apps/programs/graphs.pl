# Allocation-heavy Perl with a deterministic output: hashes of arrays, strings that grow, regular
# expressions, sort, closures, and forked children that allocate on their own.
use strict;
use warnings;
use Digest::MD5 qw(md5_hex);

my $seed = 4242;
sub rnd { my ($n) = @_; $seed = ($seed * 1103515245 + 12345) % 2147483648; return $seed % $n; }

# A word index: hash of arrays, with random deletion.
my %index;
for my $line (1 .. 60000) {
    my $word = join '', map { chr(97 + rnd(6)) } 1 .. 2 + rnd(6);
    push @{ $index{$word} }, { line => $line, text => $word x (1 + rnd(20)) };
    delete $index{ (sort keys %index)[0] } if $line % 5000 == 0;
}
my $state = '';
for my $word (sort keys %index) {
    my @entries = map { "$_->{line}:" . length $_->{text} } @{ $index{$word} };
    $state = md5_hex($state . join ',', $word, @entries);
}
print "index ", scalar(keys %index), " $state\n";

# Strings that grow in place and by copying, then are edited by regular expressions.
my $text = '';
$text .= sprintf('%06d;', rnd(1_000_000)) for 1 .. 200_000;
(my $edited = $text) =~ s/(\d{3})(\d{3})/$2-$1/g;
my %first;
$first{$1}++ while $edited =~ /(\d\d)\d-/g;
my $counts = join ',', map { "$_=$first{$_}" } sort keys %first;
print 'text ', length($edited), ' ', md5_hex($edited), ' ', md5_hex($counts), "\n";

# Sorting of many small scalars.
my @pairs = map { [ $_, md5_hex(rnd(100000)) ] } 1 .. 80_000;
my @sorted = sort { $a->[1] cmp $b->[1] || $a->[0] <=> $b->[0] } @pairs;
print 'sorted ', md5_hex(join ',', map { $_->[0] } @sorted), "\n";

# Trees and closures, built and dropped.
sub tree { my ($d) = @_; return $d ? [ tree($d - 1), tree($d - 1) ] : []; }
sub count { my ($t) = @_; return @$t ? 1 + count($t->[0]) + count($t->[1]) : 1; }
my $nodes = 0;
$nodes += count(tree(11)) for 1 .. 30;
my @closures = map { my $n = $_; my @own = (1 .. $n % 50); sub { $n + @own } } 1 .. 40_000;
my $sum = 0;
$sum += $_->() for @closures;
print "trees $nodes closures $sum\n";

# Children that allocate after fork, each with its own answer.
for my $child (1 .. 4) {
    pipe(my $read, my $write) or die "pipe: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        close $read;
        my @own = map { [ (1) x ($_ % 30), $child ] } 1 .. 30_000;
        my $total = 0;
        $total += @$_ for @own;
        print {$write} "child $child $total\n";
        close $write;
        exit 0;
    }
    close $write;
    print while <$read>;
    waitpid $pid, 0;
    die "child $child failed: $?" if $?;
}
