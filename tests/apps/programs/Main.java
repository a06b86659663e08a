// Runs the generated classes, then what makes a JVM allocate outside its own heap: threads that come
// and go, direct buffers, compressors, class loaders, and many collections. Prints digests only.

import generated.Weighed;
import java.lang.reflect.InvocationHandler;
import java.lang.reflect.Proxy;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.zip.CRC32;
import java.util.zip.Deflater;
import java.util.zip.Inflater;

public final class Main {
    private Main() {}

    static long crc(byte[] data) {
        CRC32 sum = new CRC32();
        sum.update(data);
        return sum.getValue();
    }

    /** Builds and drops object graphs; the answer depends on the seed alone. */
    static long churn(int seed) {
        Random random = new Random(seed);
        TreeMap<Integer, List<String>> live = new TreeMap<>();
        for (int i = 0; i < 60_000; ++i) {
            live.computeIfAbsent(random.nextInt(3000), key -> new ArrayList<>()).add("v" + i);
            if (i % 3 == 0) {
                live.remove(random.nextInt(3000));
            }
        }
        return crc(live.toString().getBytes());
    }

    /** Each round makes native state: a compressor, a decompressor, a direct buffer. */
    static long compress(int seed) throws Exception {
        byte[] data = new byte[200_000];
        Random random = new Random(seed);
        for (int i = 0; i < data.length; ++i) {
            data[i] = (byte) (random.nextInt(20) + i / 1000);
        }
        long sum = 0;
        for (int round = 0; round < 15; ++round) {
            Deflater deflater = new Deflater(1 + round % 9);
            deflater.setInput(data);
            deflater.finish();
            byte[] packed = new byte[data.length + 1000];
            int size = deflater.deflate(packed);
            deflater.end();
            Inflater inflater = new Inflater();
            inflater.setInput(packed, 0, size);
            byte[] back = new byte[data.length];
            if (inflater.inflate(back) != data.length || crc(back) != crc(data)) {
                throw new IllegalStateException("the data changed on its way");
            }
            inflater.end();
            ByteBuffer direct = ByteBuffer.allocateDirect(size + round * 5000);
            direct.put(packed, 0, size).flip();
            byte[] copy = new byte[size];
            direct.get(copy);
            sum = sum * 31 + crc(copy);
        }
        return sum;
    }

    static int proxies() {
        int sum = 0;
        for (int i = 0; i < 200; ++i) {
            int own = i;
            InvocationHandler handler = (proxy, method, arguments) -> own;
            ClassLoader loader = new ClassLoader(Main.class.getClassLoader()) {};
            Weighed made = (Weighed) Proxy.newProxyInstance(loader, new Class<?>[] {Weighed.class}, handler);
            sum += made.weight();
        }
        return sum;
    }

    public static void main(String[] arguments) throws Exception {
        long weight = 0;
        for (int i = 0; i < Integer.parseInt(arguments[0]); ++i) {
            weight += ((Weighed) Class.forName("generated.Unit" + i).getConstructor().newInstance()).weight();
        }
        System.out.println("generated classes weigh " + weight);

        for (int generation = 0; generation < 3; ++generation) {
            ExecutorService pool = Executors.newFixedThreadPool(6);
            List<Callable<Long>> jobs = new ArrayList<>();
            for (int i = 0; i < 6; ++i) {
                int seed = generation * 10 + i;
                jobs.add(() -> seed % 2 == 0 ? churn(seed) : compress(seed));
            }
            StringBuilder line = new StringBuilder("generation " + generation + ":");
            for (Future<Long> answer : pool.invokeAll(jobs)) {
                line.append(' ').append(answer.get());
            }
            pool.shutdown();
            System.out.println(line);
            System.gc();
        }

        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < 300; ++i) {
            Thread thread = new Thread(() -> churnSmall());
            thread.start();
            threads.add(thread);
        }
        for (Thread thread : threads) {
            thread.join();
        }
        System.out.println("threads " + threads.size());
        System.out.println("proxies " + proxies());
    }

    static void churnSmall() {
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < 500; ++i) {
            text.append(i);
        }
        if (text.length() != 1390) {
            throw new IllegalStateException("text of " + text.length());
        }
    }
}
